//! Holds each example to its header: what it prints, byte for byte, and fewer than 80 lines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use idem_test_support::example;

#[test]
fn each_example_prints_what_its_header_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut examples = 0;
    let entries = fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let folders = ["grpc/main.rs", "own_ledger/main.rs"].map(|main| folder.join(main));
    for path in files.chain(folders) {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
        let name = file.trim_end_matches("/main.rs").trim_end_matches(".rs");
        assert!(
            readme.contains(&format!("({file})")),
            "{name} is missing in README.md"
        );
        let source = fs::read_to_string(&path).unwrap();
        assert!(
            source.lines().count() < 80,
            "{name} has {} lines",
            source.lines().count()
        );

        let (command, expected) = session(&source);
        assert_eq!(
            command,
            format!("cargo run -p idem-examples --example {name}")
        );
        assert_eq!(printed(name, folder), expected, "{name}");
        examples += 1;
    }
    assert_eq!(examples, 11);
}

/// Returns the command and the output of the header's first block of text.
fn session(source: &str) -> (String, String) {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut block = header
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .skip_while(|line| *line != "```text")
        .skip(1)
        .take_while(|line| *line != "```");
    let command = block
        .next()
        .and_then(|line| line.strip_prefix("$ "))
        .unwrap();
    (
        command.to_owned(),
        block.map(|line| format!("{line}\n")).collect(),
    )
}

/// Runs the example and returns its standard output.
fn printed(name: &str, folder: &Path) -> String {
    let output = Command::new(example(name).unwrap())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "`{name}` ended with {}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}
