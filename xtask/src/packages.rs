//! What the tests need of the system: found, or installed from its packages.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;

/// A package of Debian's, and what of it the tests look for.
pub(crate) struct Package {
    /// As `apt-get` knows it.
    name: &'static str,
    /// Any of these programs will do.
    programs: &'static [&'static str],
    /// Says where one is already: a program's path, or a server's address.
    variable: Option<&'static str>,
    /// What is not run without it.
    tests: &'static str,
}

/// The browser that the dashboard's tests drive.
pub(crate) const CHROMIUM: Package = Package {
    name: "chromium",
    programs: &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ],
    variable: Some("IDEM_BROWSER"),
    tests: "the dashboard's pages in a browser",
};

/// What builds Kafka's client.
pub(crate) const MAKE: Package = Package {
    name: "make",
    programs: &["make"],
    variable: None,
    tests: "everything that is built with Kafka",
};

/// Everything for `cargo xtask test`.
pub(crate) const ALL: [Package; 5] = [
    CHROMIUM,
    MAKE,
    Package {
        name: "rabbitmq-server",
        programs: &["rabbitmq-server"],
        variable: Some("IDEM_TEST_AMQP"),
        tests: "the tests on RabbitMQ",
    },
    Package {
        name: "nats-server",
        programs: &["nats-server"],
        variable: Some("IDEM_TEST_NATS"),
        tests: "the tests on NATS",
    },
    Package {
        name: "redis-server",
        programs: &["redis-server"],
        variable: Some("IDEM_TEST_REDIS"),
        tests: "the tests on Redis",
    },
];

/// Installs what is missing where this machine lets us; says what is not run otherwise.
pub(crate) fn provide(packages: &[Package]) -> anyhow::Result<Vec<String>> {
    let missing = || {
        packages
            .iter()
            .filter(|package| !package.is_there())
            .collect::<Vec<_>>()
    };
    if !missing().is_empty() {
        install(&missing());
    }
    let missing = missing();
    if !missing.is_empty() && env::var("CI").is_ok_and(|ci| ci == "true") {
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        let names = names.join(" ");
        bail!(
            "not there, and cannot be installed here: apt-get install -y --no-install-recommends {names}"
        );
    }
    Ok(missing.iter().map(|package| package.missed()).collect())
}

impl Package {
    fn is_there(&self) -> bool {
        if let Some(there) = self.variable.and_then(env::var_os) {
            // An address is asked by the tests themselves.
            return there.to_string_lossy().contains("://") || Path::new(&there).is_file();
        }
        let path = env::var_os("PATH").unwrap_or_default();
        // Where Debian puts servers, which is not in everybody's path.
        let folders = env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/lib/rabbitmq/bin"].map(PathBuf::from));
        folders
            .into_iter()
            .any(|folder| self.programs.iter().any(|name| folder.join(name).is_file()))
    }

    fn missed(&self) -> String {
        let elsewhere = self
            .variable
            .map(|variable| format!(", or where it is in {variable}"))
            .unwrap_or_default();
        format!(
            "{}: no {} (`apt-get install {}`{elsewhere})",
            self.tests, self.name, self.name
        )
    }
}

/// Only as root: nobody is asked for a password in the middle of a test.
fn install(packages: &[&Package]) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    println!("\n── {} from the system's packages\n", names.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // The tests start servers of their own; at run level 1 none is started on its usual port.
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let install = [
        &["install", "-y", "--no-install-recommends"],
        names.as_slice(),
    ]
    .concat();
    // What cannot be had is found missing by the caller.
    let _ = apt(&install) || (apt(&["update"]) && apt(&install));
}
