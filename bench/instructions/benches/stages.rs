//! Instructions of each stage, by callgrind.

use std::hint::black_box;

use claviger_domain::signature::Profile;
use claviger_instructions::{Scene, Work};
use gungraun::{library_benchmark, library_benchmark_group, main};

fn scene(work: Work) -> Scene {
    Scene::new(work, 2)
}

#[library_benchmark(setup = scene)]
#[bench::key(Work::Key)]
#[bench::known_token(Work::KnownToken)]
#[bench::new_token(Work::NewToken)]
#[bench::signature_v1(Work::Signature(Profile::V1))]
#[bench::signature_v2(Work::Signature(Profile::V2))]
#[bench::signature_rfc9421(Work::Signature(Profile::Rfc9421))]
#[bench::free(Work::Free)]
#[bench::ceilings(Work::Ceilings)]
fn stage(mut scene: Scene) -> Scene {
    black_box(&mut scene).turn();
    scene
}

library_benchmark_group!(name = stages; benchmarks = stage);
main!(library_benchmark_groups = stages);
