//! One command of a task: prints a heading first, and names the command if it fails.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use idem_test_support::package_variables;
use serde_json::Value;

/// A command to run from the workspace's root.
pub(crate) struct Stage {
    heading: &'static str,
    /// The program as it is typed.
    program: &'static str,
    command: Command,
    variables: Vec<(&'static str, &'static str)>,
}

impl Stage {
    /// Returns a cargo command.
    pub(crate) fn cargo(heading: &'static str, arguments: &[&str]) -> Self {
        let mut command = cargo();
        command.args(arguments);
        Self {
            heading,
            program: "cargo",
            command,
            variables: Vec::new(),
        }
    }

    /// Returns a command of another program.
    pub(crate) fn program(
        heading: &'static str,
        program: &'static str,
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root()).args(arguments);
        Self {
            heading,
            program,
            command,
            variables: Vec::new(),
        }
    }

    /// Returns a cargo command for the nightly compiler.
    pub(crate) fn nightly(heading: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new("rustup");
        command
            .current_dir(root())
            .args(["run", "nightly", "cargo"])
            .args(arguments);
        Self {
            heading,
            program: "rustup",
            command,
            variables: Vec::new(),
        }
    }

    /// Sets an environment variable for this command.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.command.env(name, value);
        self.variables.push((name, value));
        self
    }

    /// Sets where it looks for programs.
    pub(crate) fn path(mut self, path: &OsStr) -> Self {
        // Too long to be printed.
        self.command.env("PATH", path);
        self
    }

    /// Sets the address of a server that runs only as long as this command, so it is not printed.
    pub(crate) fn address(mut self, name: &'static str, address: &str) -> Self {
        self.command.env(name, address);
        self
    }

    /// Runs it to its end; its output is not captured.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let line = self.line();
        heading(self.heading, &line);
        let began = Instant::now();
        let status = self
            .command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run `{line}`"))?;
        println!("   {} s", began.elapsed().as_secs());
        if !status.success() {
            bail!("{} failed ({status}); to repeat it: {line}", self.heading);
        }
        Ok(())
    }

    /// Returns the command as it is typed.
    fn line(&self) -> String {
        let quote = |text: &str| {
            if text.contains(' ') {
                format!("\"{text}\"")
            } else {
                text.to_owned()
            }
        };
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={}", quote(value)));
        let arguments = self
            .command
            .get_args()
            .map(|argument| quote(&argument.to_string_lossy()));
        variables
            .chain([self.program.to_owned()])
            .chain(arguments)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Prints the heading of a stage, and its command as it is typed.
pub(crate) fn heading(heading: &str, line: &str) {
    println!("\n── {heading}\n   {line}\n");
}

/// Returns the cargo that runs this task, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    package_variables().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Runs a cargo command and returns what it prints.
pub(crate) fn output(arguments: &[&str]) -> anyhow::Result<String> {
    let line = arguments.join(" ");
    let output = cargo()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `cargo {line}`"))?;
    ensure!(
        output.status.success(),
        "`cargo {line}` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("`cargo {line}` printed no UTF-8"))
}

/// Builds one program and returns its path.
pub(crate) fn build(name: &str, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    println!("\n── Build of `{name}`\n");
    let built = cargo()
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !built.status.success() {
        bail!(
            "the build failed; to repeat it: cargo {}",
            arguments.join(" ")
        );
    }
    built
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo named no executable for `{name}`"))
}

/// Returns whether `cargo <name>` is installed.
pub(crate) fn has_cargo(name: &str) -> bool {
    cargo()
        .args([name, "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Returns the root of the workspace.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
