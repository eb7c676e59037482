//! `outbox demo` on PostgreSQL.

use super::{PASSWORD, Role, Shop};
use crate::support::{command, done, refused};

/// The commands that the demo proposes, as a shell reads them.
fn proposed(report: &str) -> Vec<Vec<String>> {
    let words = |line: &str| -> Vec<String> {
        let words = line.split(' ');
        words
            .map(|word| word.trim_matches('\'').to_owned())
            .collect()
    };
    let commands = report.lines().filter_map(|line| line.split_once(" -- "));
    commands.map(|(_, command)| words(command)).collect()
}

#[test]
fn the_demo_needs_a_schema_alone_and_its_next_steps_work() {
    let shop = Shop::empty();
    shop.execute(
        "CREATE SCHEMA outbox; CREATE TABLE outbox.theirs (x int);
         CREATE TABLE public.orders AS SELECT 7 AS theirs",
    );
    let role = Role::new(&shop);
    let (name, database) = (&role.name, shop.database.name());
    shop.execute(&format!("GRANT CREATE ON DATABASE {database} TO {name}"));
    let url = role.url();
    let demo = ["demo", "--store", &url];
    for _ in 0..2 {
        let report = done(shop.folder(), &demo);
        assert!(report.contains("412 orders with 3064 events"), "{report}");
        assert!(report.contains("quarantined       7"), "{report}");
        assert!(
            report.contains("every committed event is accounted for"),
            "{report}"
        );
        assert!(
            !report.contains(PASSWORD) && report.contains("PGPASSWORD"),
            "{report}"
        );
        let commands = proposed(&report);
        assert_eq!(commands.len(), 5, "{report}");
        for arguments in commands {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = command(shop.folder(), &arguments)
                .env("PGPASSWORD", PASSWORD)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {errors}");
            assert!(!output.stdout.is_empty(), "{arguments:?}");
        }
    }
    // Both tables of the application still exist, and no other table was created.
    let tables = "SELECT FROM pg_class WHERE relkind = 'r'
                  AND relnamespace IN ('outbox'::regnamespace, 'public'::regnamespace)";
    assert_eq!(shop.rows(tables).len(), 2);
    assert_eq!(shop.rows("SELECT theirs FROM public.orders").len(), 1);
    assert!(!shop.folder().join("outbox-demo").exists());
}

#[test]
fn a_schema_that_is_not_the_demos_is_left_alone() {
    let shop = Shop::empty();
    shop.execute("CREATE SCHEMA outbox_demo; CREATE TABLE outbox_demo.theirs (x int)");
    let reasons = ["outbox_demo", "not of this demo", "?schema="];
    shop.refused(&["demo"], 2, &reasons);
    assert_eq!(shop.rows("TABLE outbox_demo.theirs").len(), 0);

    // What others have built on the demo's own schema stays too.
    let store = shop.url_with("schema=mine");
    let demo = ["demo", "--store", &store];
    done(shop.folder(), &demo);
    shop.execute("CREATE VIEW public.theirs AS SELECT * FROM mine.orders");
    refused(
        shop.folder(),
        &demo,
        2,
        &["\"mine\"", "view theirs depends"],
    );
    assert_eq!(shop.rows("TABLE public.theirs").len(), 412);
    shop.execute("DROP VIEW public.theirs");
    done(shop.folder(), &demo);
}

#[test]
fn the_demo_asks_for_a_postgresql_database_or_a_folder() {
    let shop = Shop::empty();
    let folder = shop.folder();
    refused(
        folder,
        &["demo", "--store", "sqlite:shop.db"],
        2,
        &["postgres://", "--dir"],
    );
    refused(
        folder,
        &["demo", "--store", "redis://x"],
        2,
        &["redis", "postgres://"],
    );
    shop.refused(&["demo", "--dir", "here"], 2, &["--dir", "--store"]);
}
