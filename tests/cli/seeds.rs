//! The fuzz targets on their seeds: what each asserts holds of good inputs, and they keep up with the source.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the targets use it as a library")]
mod fuzz;

#[test]
fn every_target_passes_on_its_seeds() {
    for (name, target) in fuzz::TARGETS {
        let seeds = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)).unwrap();
        let seeds: Vec<_> = seeds.map(|seed| fs::read(seed.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            target(&seed);
        }
    }
}
