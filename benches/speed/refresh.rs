//! A refresh, whole: process, trust store, TLS, one request, the new tokens on disk; against curl making that request.
//!
//! Both trust the machine's authorities and the test's: the same bundle for both, or each by its own usual means.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider};
use keyfob_test_support::{Keyfob, Output};
use serde_json::{Value, json};

use super::grows::more_tokens;
use super::size::used;
use super::table::{Budget, Table};
use super::turns::{against, median, medians_prepared, ratio, readable};
use super::{Place, profile};
use crate::common::programs::on_path;
use crate::common::run::Run;

/// Where systems keep all their authorities in one file.
const BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// As between continents.
const ROUND_TRIP: Duration = Duration::from_millis(50);

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let what = "a refresh over TLS / curl making the same request";
    let Some(curl) = on_path("curl") else {
        table.missing(what, "curl is not here");
        return Ok(());
    };
    let Some(system) = BUNDLES.iter().map(Path::new).find(|file| file.is_file()) else {
        table.missing(what, "this machine's authorities are not in one file");
        return Ok(());
    };
    // curl cannot keep a new refresh token.
    let idp = Provider::start(Options { tls: true, rotation: false, ..Options::default() });
    let authority = idp.ca_file().map(fs::read_to_string).transpose()?.unwrap_or_default();
    let bundle = place.home.path().join("bundle.pem");
    fs::write(&bundle, fs::read_to_string(system)? + "\n" + &authority)?;

    for (by, ca_file, variables, budget) in [
        ("same bundle", None, vec![("SSL_CERT_FILE", bundle.clone())], 0.16),
        ("`ca-file`, `--cacert`", idp.ca_file(), vec![], 0.25),
    ] {
        let installed = signed_in(place, &idp, &profile(&idp, ca_file), &bundle)?;
        let (file, ended) = ended(&installed)?;
        let session: Value = serde_json::from_str(&ended)?;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "keyfob"),
            ("refresh_token", session["refresh_token"].as_str().unwrap_or_default()),
        ];
        let mut words: Vec<String> = ["--silent", "--fail", "--output", "/dev/null"].map(str::to_owned).to_vec();
        if ca_file.is_some() {
            words.extend(["--cacert".to_owned(), bundle.display().to_string()]);
        }
        for (name, value) in form {
            words.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        words.push(idp.url(Endpoint::Token));

        let home = installed.home();
        let mut keyfob = Run::new(&place.keyfob, ["token"]).within(home);
        let mut curl = Run::new(&curl, words).within(home);
        keyfob = keyfob.env("KEYFOB_CONFIG", installed.config_file());
        keyfob = keyfob.env("KEYFOB_CACHE_DIR", installed.cache_dir()).env("KEYFOB_PROMPT", "never");
        for (name, value) in variables {
            keyfob = keyfob.env(name, value.clone());
            curl = curl.env(name, value);
        }
        let expire = || Ok(fs::write(&file, &ended)?);
        let before = idp.count("token:refresh_token");
        expire()?;
        keyfob.time()?;
        curl.time()?;
        ensure!(idp.count("token:refresh_token") == before + 2, "keyfob and curl did not both refresh");

        let rounds = place.rounds(100);
        let seen = idp.requests().len();
        let times = medians_prepared(&[(&keyfob, &expire)], 3)?;
        let requests = idp.requests().len() - seen;
        ensure!(times.len() == 1 && requests == 5, "{requests} requests for five refreshes");
        let times = medians_prepared(&[(&keyfob, &expire), (&curl, &|| Ok(()))], rounds)?;
        let what = format!("wall: {what} ({by})");
        let from = format!("{}; one request", against(times[0], times[1]));
        table.figure(&what, ratio(times[0], times[1]), "×", &from, Budget::AtMost(budget));

        if ca_file.is_none() {
            let mut many: Value = serde_json::from_str(&ended)?;
            more_tokens(&mut many, 500);
            let many = many.to_string();
            let expire_many = || Ok(fs::write(&file, &many)?);
            let times = medians_prepared(&[(&keyfob, &expire_many), (&keyfob, &expire)], rounds)?;
            let what = "wall: a refresh with 500 tokens in the session / two";
            table.figure(what, ratio(times[0], times[1]), "×", &against(times[0], times[1]), Budget::AtMost(1.3));
        }

        let mut computed = [Vec::new(), Vec::new()];
        for _ in 0..place.rounds(40) {
            for (run, computed) in [&keyfob, &curl].into_iter().zip(&mut computed) {
                expire()?;
                computed.push(used(&mut run.under(&place.peak, &[])?)?.1);
            }
        }
        let [keyfob, curl] = computed.map(median);
        #[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^52")]
        let factor = keyfob as f64 / curl as f64;
        let what = what.replace("wall", "processor time");
        table.figure(&what, factor, "×", &format!("{keyfob} µs against {curl} µs"), Budget::None);
    }
    from_far_away(place, table, &idp, &bundle)
}

/// How many round trips a refresh waits for, when each takes 50 ms.
fn from_far_away(place: &Place, table: &mut Table, idp: &Provider, bundle: &Path) -> Result<()> {
    let token_endpoint = format!("token-endpoint = '{}'\n", far_away(&idp.url(Endpoint::Token))?);
    let installed = signed_in(place, idp, &(profile(idp, idp.ca_file()) + &token_endpoint), bundle)?;
    let (file, ended) = ended(&installed)?;
    let keyfob = Run::new(&place.keyfob, ["token"]).within(installed.home());
    let keyfob = keyfob.env("KEYFOB_CONFIG", installed.config_file()).env("KEYFOB_PROMPT", "never");
    let keyfob = keyfob.env("KEYFOB_CACHE_DIR", installed.cache_dir());
    let expire = || Ok(fs::write(&file, &ended)?);
    let time = medians_prepared(&[(&keyfob, &expire)], place.rounds(20))?[0];
    let trips = 1.0 + time.as_secs_f64() / ROUND_TRIP.as_secs_f64();
    let from = format!("the connection's, and {} of 50 ms each", readable(time));
    table.figure("round trips of a refresh over TLS", trips, "", &from, Budget::AtMost(4.0));
    Ok(())
}

/// The address of an endpoint by way of a port that passes on what it gets, half a round trip later each way. Connecting to
/// that port takes no time.
fn far_away(url: &str) -> Result<String> {
    let (_, rest) = url.split_once("://").context("an address")?;
    let (near, path) = rest.split_once('/').context("a path")?;
    let near = near.to_owned();
    let port = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("https://{}/{path}", port.local_addr()?);
    thread::spawn(move || {
        for client in port.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&near) else { continue };
            for (from, to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
                let (Ok(from), Ok(to)) = (from, to) else { continue };
                thread::spawn(move || pass_on(from, to));
            }
        }
    });
    Ok(address)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let (sender, on_its_way) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (arrives, bytes) in on_its_way {
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if sender.send((Instant::now() + ROUND_TRIP / 2, bytes[..count].to_vec())).is_err() {
            break;
        }
    }
}

/// A keyfob with this configuration and a session at this provider, whose authority is in the bundle.
fn signed_in(place: &Place, idp: &Provider, config: &str, bundle: &Path) -> Result<Keyfob> {
    idp.auto(Auto::Approve);
    let keyfob = Keyfob::new(&place.keyfob).config(config);
    let mut login = keyfob.command(["login"]);
    let output = Output::of(login.env("KEYFOB_PROMPT", "always").env("SSL_CERT_FILE", bundle), b"");
    ensure!(output.code == Some(0), "could not sign in: {}", output.stderr);
    Ok(keyfob)
}

/// The only session's file, and what it holds once its access tokens have ended.
fn ended(keyfob: &Keyfob) -> Result<(PathBuf, String)> {
    let mut files = fs::read_dir(keyfob.cache_dir())?.filter_map(|entry| Some(entry.ok()?.path()));
    let file = files.find(|file| file.extension().is_some_and(|e| e == "json")).context("there is no session")?;
    let mut session: Value = serde_json::from_slice(&fs::read(&file)?)?;
    for token in session["tokens"].as_array_mut().context("a session without tokens")? {
        token["expires_at"] = json!(1);
    }
    Ok((file, session.to_string()))
}
