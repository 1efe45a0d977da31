//! Crates that are written to be compiled and measured, in a workspace of their own below the
//! target folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use object::{Object, ObjectSection};

/// A folder of generated crates, with the dependencies and the lock file of this workspace.
pub struct Crates {
    folder: PathBuf,
}

/// What stands before each handler of a crate.
#[derive(Clone, Copy)]
pub struct Handlers {
    /// The crate's name.
    pub krate: &'static str,
    /// The attribute; `{name}` becomes the handler's name.
    pub attribute: &'static str,
    /// How many handlers there are.
    pub count: usize,
}

impl Crates {
    /// Writes them, and builds their dependencies.
    ///
    /// # Errors
    /// When a file cannot be written or a crate does not compile.
    pub fn write(crates: &[Handlers]) -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        let folder = root.join("target/handlers");
        fs::create_dir_all(&folder)?;
        let members: Vec<_> = crates.iter().map(|handlers| handlers.krate).collect();
        fs::write(
            folder.join("Cargo.toml"),
            format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"),
        )?;
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        for handlers in crates {
            let source = folder.join(handlers.krate).join("src");
            fs::create_dir_all(&source)?;
            fs::write(
                source.join("../Cargo.toml"),
                manifest(handlers.krate, &root),
            )?;
            fs::write(source.join("main.rs"), handlers.source())?;
        }
        let written = Self { folder };
        for handlers in crates {
            written.cargo(handlers, &["check"])?;
            written.cargo(handlers, &["build", "--release"])?;
        }
        Ok(written)
    }

    /// The processor time that cargo takes for this crate alone, which has changed. Unlike the time
    /// on the wall, it does not depend on what else the machine does.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn timed(&self, handlers: &Handlers, arguments: &[&str]) -> io::Result<Duration> {
        let main = fs::File::options()
            .append(true)
            .open(self.folder.join(handlers.krate).join("src/main.rs"))?;
        main.set_modified(SystemTime::now())?;
        let before = children()?;
        self.cargo(handlers, arguments)?;
        Ok(children()? - before)
    }

    /// The bytes of machine code in the crate's release binary.
    ///
    /// # Errors
    /// If there is no such file, or it holds no machine code.
    pub fn code(&self, handlers: &Handlers) -> io::Result<u64> {
        let binary = fs::read(self.folder.join("target/release").join(handlers.krate))?;
        let binary = object::File::parse(&*binary).map_err(io::Error::other)?;
        let text = binary
            .section_by_name(".text")
            .ok_or_else(|| io::Error::other("it has no machine code"))?;
        Ok(text.size())
    }

    fn cargo(&self, handlers: &Handlers, arguments: &[&str]) -> io::Result<()> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(arguments)
            .args(["--quiet", "--package", handlers.krate])
            .current_dir(&self.folder);
        // The whole crate is compiled each time, and nothing of the outer cargo's choices gets in.
        cargo
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_TARGET_DIR", self.folder.join("target"));
        let status = cargo.stdin(Stdio::null()).status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "`cargo {}` of {} failed ({status})",
            arguments.join(" "),
            handlers.krate
        )))
    }
}

/// The processor time of all processes that this one has waited for.
fn children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(
        u64::try_from(time.num_microseconds()).unwrap_or(0),
    ))
}

fn manifest(krate: &str, root: &Path) -> String {
    let runtime = root.join("idem-runtime");
    format!(
        "[package]\nname = \"{krate}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         idem-runtime = {{ path = {runtime:?} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\nthiserror = \"2\"\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\ntracing = \"0.1\"\n"
    )
}

impl Handlers {
    /// The same program for each attribute: messages come as JSON, and each handler has types of
    /// its own.
    fn source(&self) -> String {
        let mut source = include_str!("program.rs.in").to_owned();
        let mut dispatch = String::new();
        for number in 0..self.count {
            let attribute = self
                .attribute
                .replace("{name}", &format!("orders.place_{number}"));
            // Writing to a string does not fail.
            let _ = write!(
                source,
                "
#[derive(Clone, Serialize, Deserialize)]
pub struct Order{number} {{ order_no: String, sku: String, qty: u32 }}

#[derive(Clone, Serialize, Deserialize)]
pub struct Placed{number} {{ order_no: String, reserved: u64, total_cents: u64 }}

{attribute}
pub async fn place_{number}(order: Order{number}) -> Result<Placed{number}, Oops> {{
    let reserved = reserve(&order.sku, order.qty).await?;
    Ok(Placed{number} {{ order_no: order.order_no, reserved, total_cents: reserved * {number} }})
}}
"
            );
            let _ = writeln!(
                dispatch,
                "        \"{number}\" => {{ let placed = place_{number}(serde_json::from_str(json)?).await?; \
                 Ok((placed.order_no, placed.reserved + placed.total_cents)) }}"
            );
        }
        let _ = write!(
            source,
            "
pub async fn dispatch(name: &str, json: &str) -> Result<(String, u64), Oops> {{
    match name {{
{dispatch}        _ => Err(Oops::OutOfStock(json.to_owned())),
    }}
}}
"
        );
        source
    }
}
