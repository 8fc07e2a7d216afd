//! Compiles the contracts with protox, a protobuf compiler in Rust, so that nobody needs protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors =
        protox::compile(["weft/v1/node.proto", "weft/v1/cluster.proto", "weft/v1/doctor.proto"], ["proto"])?;
    // gRPC reflection serves the contracts from this file.
    let path = PathBuf::from(env::var("OUT_DIR")?).join("weft.bin");
    fs::write(path, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
