//! What the tests need from the system: finds it, or installs it from the system's packages.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;
use idem_test_support::servers::find;

/// A package of Debian, and what the tests need of it.
pub(crate) struct Package {
    /// Its name for `apt-get`.
    name: &'static str,
    /// The programs, any of which is enough.
    programs: &'static [&'static str],
    /// The variable with a program's path or a server's address.
    variable: Option<&'static str>,
    /// The tests that are not run without it.
    tests: &'static str,
}

/// The browser for the dashboard's tests.
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

/// Builds Kafka's client.
pub(crate) const MAKE: Package = Package {
    name: "make",
    programs: &["make"],
    variable: None,
    tests: "everything that is built with Kafka",
};

/// The server for the ledger that several processes share.
pub(crate) const POSTGRES: Package = Package {
    name: "postgresql",
    programs: &["initdb"],
    variable: Some("IDEM_TEST_POSTGRES"),
    tests: "the tests on PostgreSQL",
};

/// Stands before it in some of its tests.
pub(crate) const PGBOUNCER: Package = Package {
    name: "pgbouncer",
    programs: &["pgbouncer"],
    variable: None,
    tests: "the tests on PostgreSQL through PgBouncer",
};

/// A ledger on a server in memory.
pub(crate) const REDIS: Package = Package {
    name: "redis-server",
    programs: &["redis-server"],
    variable: Some("IDEM_TEST_REDIS"),
    tests: "the tests on Redis",
};

/// Checks and runs the alert rules.
pub(crate) const PROMETHEUS: Package = Package {
    name: "prometheus",
    programs: &["promtool"],
    variable: None,
    tests: "the alert rules for Prometheus",
};

/// Counts instructions.
pub(crate) const VALGRIND: Package = Package {
    name: "valgrind",
    programs: &["valgrind"],
    variable: None,
    tests: "the comparison of instructions with the changelog's",
};

/// All packages for `cargo xtask test`.
pub(crate) const ALL: [Package; 9] = [
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
    REDIS,
    POSTGRES,
    PGBOUNCER,
    PROMETHEUS,
    VALGRIND,
];

/// Installs missing packages if it may. Returns the tests that are not run without the rest.
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
    open_null_device();
    let missing = missing();
    if !missing.is_empty() && env::var("CI").is_ok_and(|ci| ci == "true") {
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        let names = names.join(" ");
        bail!(
            "packages are missing and cannot be installed: apt-get install -y --no-install-recommends {names}"
        );
    }
    Ok(missing.iter().map(|package| package.missed()).collect())
}

/// Lets every user write to the null device, as everywhere: PostgreSQL, which refuses to run as root,
/// needs it. Some containers leave it to root.
fn open_null_device() {
    let null = Path::new("/dev/null");
    let Ok(mode) = fs::metadata(null).map(|null| null.permissions().mode()) else {
        return;
    };
    if mode & 0o666 != 0o666 && rustix::process::geteuid().is_root() {
        // If it does not work, `initdb` says so.
        let _ = fs::set_permissions(null, Permissions::from_mode(mode | 0o666));
    }
}

impl Package {
    pub(crate) fn is_there(&self) -> bool {
        if let Some(there) = self.variable.and_then(env::var_os) {
            // The tests themselves check an address.
            return there.to_string_lossy().contains("://") || Path::new(&there).is_file();
        }
        self.programs.iter().any(|name| find(name).is_some())
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

/// Installs packages as root only, because a password cannot be asked for during a test.
fn install(packages: &[&Package]) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    println!("\n── {} from the system's packages\n", names.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // At run level 1 no server is started on its usual port: the tests start their own.
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
    // The caller finds what is still missing.
    let _ = apt(&install) || (apt(&["update"]) && apt(&install));
}
