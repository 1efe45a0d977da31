use idem_runtime::Error;

fn main() {
    let _ = idem_runtime::handler::bounds::check::<Result<u64, Error>>;
}
