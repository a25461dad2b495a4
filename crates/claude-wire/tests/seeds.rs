//! The laws that the fuzz targets check, over the committed seeds.

use std::path::PathBuf;

use claviger_claude_wire::laws;

/// Runs `law` over each seed of a target; each is also run cut into pieces of other lengths.
fn run(target: &str, law: fn(&[u8])) -> std::io::Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder)? {
        let mut data = std::fs::read(entry?.path())?;
        law(&data);
        for size in [1, 2, 3, 16, 255] {
            if let Some(first) = data.first_mut() {
                *first = size;
            }
            law(&data);
        }
        seeds += 1;
    }
    assert!(seeds >= 10, "{} seeds in {}", seeds, folder.display());
    Ok(())
}

#[test]
fn request_head_seeds_keep_the_law() -> std::io::Result<()> {
    run("request_head", laws::request_head)
}

#[test]
fn sse_seeds_keep_the_law() -> std::io::Result<()> {
    run("sse", laws::sse)
}
