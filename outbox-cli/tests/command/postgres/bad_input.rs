//! Servers, databases and schemas that are refused: one line, and nothing half done.

use super::{PASSWORD, Role, Shop};
use crate::bad_input::COMMANDS;
use crate::brokers::port_of_no_server;
use crate::support::{outbox, refused};
use std::io::{Read, Write};
use std::net::TcpListener;

/// Asserts that each command but some refuses the store with these reasons, and tells no password.
fn all_refuse(shop: &Shop, store: &str, code: i32, but: &[&[&str]], reasons: &[&str]) {
    for command in COMMANDS.iter().filter(|command| !but.contains(command)) {
        let arguments = [command, &["--store", store][..]].concat();
        refused(shop.folder(), &arguments, code, reasons);
    }
    let errors = outbox(shop.folder(), &["status", "--store", store]).stderr;
    assert!(!String::from_utf8_lossy(&errors).contains(PASSWORD));
}

#[test]
fn a_server_that_cannot_be_reached_is_named_without_the_password() {
    let shop = Shop::empty();
    let address = format!("127.0.0.1:{}", port_of_no_server());
    let store = format!("postgres://me:{PASSWORD}@{address}/shop");
    all_refuse(&shop, &store, 1, &[], &["store", &address, "refused"]);
    let heap = ["status", "--heap", &store];
    shop.done(&["migrate"]);
    shop.refused(&heap, 1, &["heap", &address, "refused"]);
    let demo = ["demo", "--store", &store];
    refused(shop.folder(), &demo, 1, &[&address, "refused"]);
    let unknown = format!("postgres://me:{PASSWORD}@nowhere.invalid/shop");
    let status = ["status", "--store", &unknown];
    refused(shop.folder(), &status, 1, &["nowhere.invalid:5432"]);
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_required() {
    let shop = Shop::empty();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let answers = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        client.read_exact(&mut [0; 8]).unwrap();
        client.write_all(b"N").unwrap();
    });
    let store = format!("postgres://me:{PASSWORD}@{address}/shop?sslmode=require");
    let status = ["status", "--store", &store];
    refused(
        shop.folder(),
        &status,
        2,
        &[&address, "does not support TLS"],
    );
    answers.join().unwrap();
}

#[test]
fn a_database_that_is_missing_is_named() {
    let shop = Shop::empty();
    let missing = format!("{}_missing", shop.database.name());
    let store = shop.url.replace(shop.database.name(), &missing);
    all_refuse(&shop, &store, 2, &[], &[&missing, "does not exist"]);
}

#[test]
fn a_schema_that_was_not_migrated_says_what_to_run() {
    let shop = Shop::empty();
    let migrations = [&["migrate"][..], &["migrate", "status"]];
    let reasons = ["\"outbox\"", "outbox migrate"];
    all_refuse(&shop, &shop.url, 2, &migrations, &reasons);
    assert!(
        shop.rows("SELECT FROM pg_namespace WHERE nspname = 'outbox'")
            .is_empty()
    );
}

#[test]
fn a_foreign_table_of_our_name_is_refused_and_stays_as_it_is() {
    for table in ["outbox_events", "outbox_dlq_heap", "outbox_migrations"] {
        let shop = Shop::empty();
        let foreign = format!("CREATE SCHEMA outbox; CREATE TABLE outbox.{table} AS SELECT 1 AS x");
        shop.execute(&foreign);
        for migration in [&["migrate"][..], &["migrate", "status"]] {
            shop.refused(migration, 2, &[table, "of another program"]);
        }
        let tables = "SELECT FROM pg_class WHERE relnamespace = 'outbox'::regnamespace";
        assert_eq!(
            shop.rows(tables).len(),
            1,
            "something was created next to {table}"
        );
    }
}

#[test]
fn tables_of_a_newer_version_that_is_not_compatible_are_refused() {
    let shop = Shop::migrated();
    shop.execute("INSERT INTO outbox.outbox_migrations (component, version, min_compatible) VALUES ('store', 99, 99)");
    let knows = format!("knows {}", outbox_store_postgres::MIGRATIONS.len());
    let reasons = ["version 99", &knows, "newer program"];
    let open = |command: &&[&str]| !command.starts_with(&["migrate"]);
    for command in COMMANDS.iter().filter(|command| open(command)) {
        shop.refused(command, 2, &["version 99", "newer program"]);
    }
    shop.refused(&["migrate"], 2, &reasons);
    shop.refused(&["migrate", "status"], 2, &reasons);
    shop.refused(&["migrate", "check"], 2, &["version 99", "newer program"]);
}

#[test]
fn a_missing_privilege_is_named() {
    let shop = Shop::empty();
    let role = Role::new(&shop);
    let store = role.url();
    let migrate = ["migrate", "--store", &store];
    refused(shop.folder(), &migrate, 2, &["permission denied"]);
    shop.done(&["migrate"]);
    all_refuse(&shop, &store, 2, &[], &["permission denied"]);
}
