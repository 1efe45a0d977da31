use idem_runtime::Error;

fn main() {
    let _ = idem_runtime::bounds::begin::<Result<u64, Error>>;
}
