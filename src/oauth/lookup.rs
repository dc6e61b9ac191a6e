//! A host's addresses. The system looks them up for as long as it likes, so that a thread does, and only this waits no longer
//! than a request may take.

use http::Uri;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

/// Why there is no thread.
pub(super) fn no_thread(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("no thread could be started: {error}"))
}

/// What ureq does by itself, but that it panics where no thread can be started.
#[derive(Debug)]
pub(super) struct Lookup;

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (uri, config) = (uri.clone(), config.clone());
        let (sender, found) = sync_channel(1);
        let look = move || {
            let unlimited = NextTimeout { after: Duration::NotHappening, ..timeout };
            let _ = sender.send(DefaultResolver::default().resolve(&uri, &config, unlimited));
        };
        Builder::new().spawn(look).map_err(|error| no_thread(&error))?;
        found.recv_timeout(*timeout.after).unwrap_or(Err(Error::Timeout(timeout.reason)))
    }
}
