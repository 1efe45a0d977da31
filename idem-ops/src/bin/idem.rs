//! The command `idem`: see `idem --help`.

fn main() -> std::process::ExitCode {
    idem_ops::cli::main()
}
