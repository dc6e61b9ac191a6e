//! Work that a thread does, and whose result is waited for only so long.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// The result of a thread's work. Smaller than a channel of std, whose code takes 6 kB for each type.
pub struct Later<T>(Arc<(Mutex<Option<T>>, Condvar)>);

/// Does `work` in a thread of its own, which nobody has to wait for. Fails if no thread can be started.
pub fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Later<T>> {
    let result = Arc::new((Mutex::new(None), Condvar::new()));
    let later = Later(Arc::clone(&result));
    let work = move || {
        let done = work();
        *result.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        result.1.notify_one();
    };
    let why = |error: io::Error| io::Error::new(error.kind(), format!("no thread could be started: {error}"));
    Builder::new().spawn(work).map(|_| later).map_err(why)
}

impl<T> Later<T> {
    /// The result, as soon as it is there; `None` if that takes longer than `limit`, or if it was taken before.
    pub fn wait(&self, limit: Duration) -> Option<T> {
        let result = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(result, limit, |result| result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_result_is_waited_for_and_taken_once() {
        let (go_on, waits) = channel::<()>();
        let later = in_a_thread(move || waits.recv().is_ok()).unwrap();
        assert_eq!(later.wait(Duration::from_millis(1)), None);
        go_on.send(()).unwrap();
        assert_eq!(later.wait(Duration::from_secs(60)), Some(true));
        assert_eq!(later.wait(Duration::ZERO), None);
    }
}
