//! The page about data layers shows the programs of `examples/shop` as they are.

use std::error::Error;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// Modules that the programs share.
const SHARED: [&str; 3] = ["on_postgres", "on_sqlite", "order"];

#[test]
fn the_page_shows_each_program_as_it_is() -> Result<(), Box<dyn Error>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let page = read_to_string(root.join("docs/appending.md"))?;
    let mut expected: Vec<String> = Vec::new();
    for entry in read_dir(root.join("examples/shop"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !SHARED.contains(&&*name) {
            expected.push(format!("examples/shop/{name}.rs"));
        }
    }
    expected.sort();
    let mut shown = Vec::new();
    // A link to the program, and a part of it.
    for section in page.split("\n[`examples/shop/").skip(1) {
        let (name, rest) = section.split_once('`').ok_or("a link without an end")?;
        let name = format!("examples/shop/{name}");
        let (_, rest) = rest.split_once("```rust,ignore\n").ok_or("no code")?;
        let (code, _) = rest.split_once("```").ok_or("code without an end")?;
        let program = read_to_string(root.join(&name))?;
        assert!(program.contains(code), "{name} lacks this:\n{code}");
        shown.push(name);
    }
    shown.sort();
    assert_eq!(shown, expected);
    Ok(())
}
