//! `docs/adding-a-backend.md` has all that is compiled here, and nothing else.

const PAGE: &str = include_str!("../../../docs/adding-a-backend.md");

#[test]
fn the_blocks_of_the_page_are_the_files_of_the_example() {
    let blocks: Vec<&str> = PAGE
        .split("\n```rust\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0)
        .collect();
    let (conformance, library) = blocks.split_last().expect("blocks");
    assert_same(&library.join("\n"), include_str!("../src/lib.rs"));
    assert_same(conformance, include_str!("conformance.rs"));
}

#[test]
fn the_commands_of_the_page_add_the_packages_of_the_example() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    let mut expected = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !line.is_empty() {
            let name = line.split(['.', ' ']).next().unwrap_or_default();
            expected.push((name, section == "[dev-dependencies]"));
        }
    }
    let mut added = Vec::new();
    for command in PAGE.lines().filter(|line| line.starts_with("cargo add ")) {
        let is_dev = command.contains(" --dev ");
        let words = command.split(' ').skip(2).filter(|word| *word != "--dev");
        let packages = words.take_while(|word| !word.starts_with("--"));
        added
            .extend(packages.map(|package| (package.split('@').next().unwrap_or(package), is_dev)));
    }
    expected.sort_unstable();
    added.sort_unstable();
    assert_eq!(added, expected);
}

/// Names the first line that differs.
fn assert_same(page: &str, file: &str) {
    for (number, (page, file)) in page.lines().zip(file.lines()).enumerate() {
        assert_eq!(page, file, "line {}", number + 1);
    }
    assert_eq!(page.lines().count(), file.lines().count());
    assert!(page == file);
}
