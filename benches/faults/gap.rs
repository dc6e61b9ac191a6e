//! The one moment that nobody can do anything about: from the provider's answer, with which it forgets the old refresh
//! token, until the new one is written. From then on a kill costs nothing, though the file is still flushed and renamed.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use keyfob_test_support::provider::Options;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::common::{Caller, Scene, token};

/// Prints how long it is, over so many refreshes.
pub(crate) fn table(samples: usize) -> bool {
    let scene = Scene::signed_in(Options::default());
    let measured: Vec<[Duration; 2]> = (0..samples).map(|_| gap(&scene)).collect();
    println!("\nFrom the provider's answer, over {samples} refreshes one after the other\n");
    println!("                              median      90 %       most");
    for (index, what) in ["until it is written", "until it is in place"].iter().enumerate() {
        let mut times: Vec<Duration> = measured.iter().map(|times| times[index]).collect();
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
        println!("{what:<24}{:>9.2} ms{:>8.2} ms{:>8.2} ms", at(50), at(90), at(100));
    }
    true
}

/// One refresh: how long after the answer the new session was written, and how long after it was renamed.
fn gap(scene: &Scene) -> [Duration; 2] {
    scene.leave(-1);
    let watch = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, scene.keyfob.cache_dir(), WatchFlags::MODIFY | WatchFlags::MOVED_TO).unwrap();
    let caller = Caller::start(&mut scene.command("never", ["token"]));
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut written = None;
    let renamed = loop {
        let event = events.next().unwrap();
        let now = Instant::now();
        if event.events().contains(ReadFlags::MOVED_TO) {
            break now;
        }
        // What is left of the room that was reserved for it is given back right after.
        written = Some(now);
    };
    token(&caller.finish());
    let answered = scene.idp.requests().last().unwrap().answered.unwrap();
    [written.unwrap(), renamed].map(|then| then.saturating_duration_since(answered))
}
