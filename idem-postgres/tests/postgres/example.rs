//! The example prints what its header says.

use std::process::{Command, Stdio};

use idem_test_support::example;
use idem_test_support::servers::Database;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_print_what_the_header_says() {
    let database = Database::empty().await.unwrap();
    let header = include_str!("../../examples/replicas.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"));
    let expected: String = header
        .skip_while(|line| !line.contains("$ cargo run"))
        .skip(1)
        .take_while(|line| *line != " ```")
        .map(|line| line.trim_start().to_owned() + "\n")
        .collect();
    let url = database.url().to_owned();
    let printed = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(example("replicas").unwrap());
        command.arg(url).stderr(Stdio::inherit()).output()
    });
    let printed = printed.await.unwrap().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
}
