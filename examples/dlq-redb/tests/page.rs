//! `docs/adding-a-backend.md` quotes what is compiled here.

const PAGE: &str = include_str!("../../../docs/adding-a-backend.md");
const CODE: [&str; 2] = [
    include_str!("../src/lib.rs"),
    include_str!("conformance.rs"),
];

/// Without indentation, which a quote leaves out.
fn flat(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n")
}

#[test]
fn each_block_of_the_page_stands_in_the_example() {
    let code = CODE.map(flat);
    let blocks: Vec<&str> = PAGE.split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 8, "the blocks of the page");
    for block in blocks {
        let (block, _) = block.split_once("```").expect("a block ends");
        let found = code.iter().any(|code| code.contains(&flat(block)));
        assert!(found, "not in the example:\n{block}");
    }
}
