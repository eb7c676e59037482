//! The programs of `examples/swap-backend` differ from the one on SQLite by two lines each, and the README
//! shows these lines.

use std::error::Error;
use std::fs::read_to_string;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[test]
fn a_swap_changes_the_dependency_and_the_constructor() -> Result<()> {
    for (package, role) in [
        ("swap-redis-heap", "heap"),
        ("swap-postgres-heap", "heap"),
        ("swap-postgres-store", "store"),
    ] {
        let manifest = changed(package, "Cargo.toml")?;
        let [(_, name), (_, dependency)] = &manifest[..] else {
            return Err(format!("{package}: the manifests differ by {manifest:?}").into());
        };
        assert_eq!(name, &format!("name = \"{package}\""));
        assert!(dependency.starts_with(&format!("{role} = {{ package = \"outbox-")));
        let program = changed(package, "src/main.rs")?;
        let [(_, constructor)] = &program[..] else {
            return Err(format!("{package}: the programs differ by {program:?}").into());
        };
        assert!(constructor.starts_with(&format!("    let {role} = {role}::")));
    }
    Ok(())
}

#[test]
fn the_readme_shows_a_swap_as_it_is() -> Result<()> {
    let readme = read_to_string(root().join("README.md"))?;
    let [_, (old_crate, new_crate)] = &changed("swap-redis-heap", "Cargo.toml")?[..] else {
        return Err("more than the dependency differs".into());
    };
    let [(old_line, new_line)] = &changed("swap-redis-heap", "src/main.rs")?[..] else {
        return Err("more than the constructor differs".into());
    };
    for (sign, line) in [
        ('-', old_crate),
        ('+', new_crate),
        ('-', old_line),
        ('+', new_line),
    ] {
        let shown = format!(
            "{sign}{}\n",
            line.trim_start().replace("../../../", "../outbox/")
        );
        assert!(readme.contains(&shown), "the README lacks {shown}");
    }
    Ok(())
}

/// The lines in which `file` of the package differs from that of the program on SQLite.
fn changed(package: &str, file: &str) -> Result<Vec<(String, String)>> {
    let text = |package: &str| {
        read_to_string(
            root()
                .join("examples/swap-backend")
                .join(package)
                .join(file),
        )
    };
    let (old, new) = (text("swap-sqlite")?, text(package)?);
    assert_eq!(old.lines().count(), new.lines().count(), "{package}/{file}");
    let pairs = old.lines().zip(new.lines()).filter(|(old, new)| old != new);
    Ok(pairs
        .map(|(old, new)| (old.to_owned(), new.to_owned()))
        .collect())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
