//! Brokers that come as crates and take minutes to build: they are built only if asked for by name.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::stage::{Stage, cargo, has_cargo};

/// A broker by name
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A real Kafka broker, `tansu`
    Kafka,
    /// RocketMQ's name server and broker, those that are written in Rust
    Rocketmq,
}

/// A broker and its tests.
struct Broker {
    heading: &'static str,
    /// The programs to install, in order.
    programs: &'static [Program],
    /// The variable with the address of a running one.
    variable: &'static str,
    /// The arguments of `cargo` for the tests, and how their names begin.
    tests: (&'static [&'static str], &'static str),
    /// Whether it is a package outside of the workspace, which `cargo xtask check` does not see.
    outside: bool,
}

/// A program from crates.io.
struct Program {
    /// The crate.
    name: &'static str,
    file: &'static str,
    version: &'static str,
    arguments: &'static [&'static str],
}

const KAFKA: Broker = Broker {
    heading: "Tests on a real Kafka broker",
    programs: &[Program {
        name: "tansu",
        file: "tansu",
        version: "0.6.0",
        arguments: &["--features", "dynostore"],
    }],
    variable: "IDEM_TEST_KAFKA",
    tests: (
        &["-p", "idem-brokers", "--features", "kafka"],
        "kafka_real::",
    ),
    outside: false,
};

const ROCKETMQ: Broker = Broker {
    heading: "Tests on a real RocketMQ",
    programs: &[
        Program {
            name: "rocketmq-namesrv",
            file: "rocketmq-namesrv-rust",
            version: "1.0.0",
            arguments: &[],
        },
        Program {
            name: "rocketmq-broker",
            file: "rocketmq-broker-rust",
            version: "1.0.0",
            arguments: &[],
        },
    ],
    variable: "IDEM_TEST_ROCKETMQ",
    tests: (
        &[
            "--manifest-path",
            "idem-brokers/rocketmq/Cargo.toml",
            "--target-dir",
            "target/rocketmq",
        ],
        "rocketmq::",
    ),
    outside: true,
};

const ALL: [(Name, Broker); 2] = [(Name::Kafka, KAFKA), (Name::Rocketmq, ROCKETMQ)];

/// Installs missing brokers that were asked for, and runs their tests.
pub(crate) fn run(with: &[Name]) -> anyhow::Result<()> {
    ALL.iter()
        .filter(|(name, _)| with.contains(name))
        .try_for_each(|(_, broker)| broker.run())
}

/// Returns the tests that were not asked for.
pub(crate) fn missed(with: &[Name]) -> Vec<String> {
    let missed = ALL.iter().filter(|(name, _)| !with.contains(name));
    missed
        .filter_map(|(name, broker)| {
            let name = name.to_possible_value()?;
            Some(format!(
                "{}: only if asked for, `cargo xtask test --with {}`",
                broker.heading,
                name.get_name()
            ))
        })
        .collect()
}

impl Broker {
    fn run(&self) -> anyhow::Result<()> {
        let mut path = Vec::new();
        if env::var_os(self.variable).is_none() {
            for program in self.programs {
                path.push(program.provide()?.join("bin"));
            }
        }
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let (arguments, names) = self.tests;
        if self.outside {
            let lints = [
                &["clippy", "--all-targets"],
                arguments,
                &["--", "-D", "warnings"],
            ]
            .concat();
            Stage::cargo("Lints of a package outside of the workspace", &lints).run()?;
            let docs = [&["doc", "--no-deps"], arguments].concat();
            Stage::cargo("Its docs", &docs)
                .env("RUSTDOCFLAGS", "-D warnings")
                .run()?;
            Stage::cargo(
                "Its unit and doc tests",
                &[&["test", "--lib"], arguments].concat(),
            )
            .run()?;
            Stage::cargo(
                "Its examples in the docs",
                &[&["test", "--doc"], arguments].concat(),
            )
            .run()?;
        }
        let runner: &[&str] = if has_cargo("nextest") {
            &["nextest", "run", "--no-fail-fast"]
        } else {
            &["test", "--no-fail-fast"]
        };
        Stage::cargo(
            self.heading,
            &[runner, arguments, &["--test", "brokers", "--", names]].concat(),
        )
        .path(&env::join_paths(path)?)
        .run()
    }
}

impl Program {
    /// Returns the folder of the installed program, outside of the tree, so that all clones share
    /// it.
    fn provide(&self) -> anyhow::Result<PathBuf> {
        let folder = cache()?.join(format!("{}-{}", self.name, self.version));
        if !folder.join("bin").join(self.file).is_file() {
            self.install(&folder)?;
        }
        Ok(folder)
    }

    fn install(&self, folder: &Path) -> anyhow::Result<()> {
        println!(
            "\n── {} {} from crates.io, into {}: some minutes\n",
            self.name,
            self.version,
            folder.display()
        );
        let mut command = cargo();
        command
            .args(["install", "--quiet", self.name, "--version", self.version])
            .args(self.arguments);
        let status = command
            .arg("--root")
            .arg(folder)
            .stdin(Stdio::null())
            .status();
        let status = status.with_context(|| format!("cannot install {}", self.name))?;
        ensure!(
            status.success(),
            "{} {} could not be installed ({status})",
            self.name,
            self.version
        );
        Ok(())
    }
}

fn cache() -> anyhow::Result<PathBuf> {
    let given =
        env::var_os("XDG_CACHE_HOME").filter(|path: &OsString| Path::new(path).is_absolute());
    let folder = given
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(folder
        .context("cannot find a folder to install to: set HOME or XDG_CACHE_HOME")?
        .join("idem"))
}
