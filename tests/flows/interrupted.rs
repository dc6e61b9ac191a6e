//! Callers that end in the middle: killed, interrupted, or with the process that started them, at each point on the way from
//! the first request to the answer of the one that counts, where the provider keeps them. What a save does is in `disk`
//! and `survival`, system call by system call.

use std::thread;

use crate::common::{Caller, End, Scene, code, refresh_token, token, wait_until, worker_of};
use keyfob_test_support::provider::{Endpoint, Hold, Options, Provider};
use rustix::process::{Signal, kill_process};

/// Where the provider keeps it: before a request is looked at, or when that is done and not answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Asked(Endpoint),
    Done(Endpoint),
}

/// Ends a caller once it is there.
fn end_at(scene: &Scene, point: Point, how: End, caller: &Caller) {
    let inner = caller.inner();
    wait_until(&format!("{point:?}"), || point.is_reached(&scene.idp));
    how.end(caller, inner).unwrap();
}

fn hold(scene: &Scene, point: Point) -> Hold {
    match point {
        Point::Asked(endpoint) => scene.idp.hold(endpoint),
        Point::Done(endpoint) => scene.idp.hold_answers(endpoint),
    }
}

/// The same for a session whose token has ended, and which does not know the server's endpoints any more.
fn hold_a_renewal(scene: &Scene, point: Point) -> Hold {
    scene.leave(-1);
    scene.change(|session| drop(session.as_object_mut().unwrap().remove("server")));
    hold(scene, point)
}

impl Point {
    /// Whether the provider keeps the last request there.
    fn is_reached(self, idp: &Provider) -> bool {
        let (endpoint, done) = match self {
            Self::Asked(endpoint) => (endpoint, false),
            Self::Done(endpoint) => (endpoint, true),
        };
        let label = match endpoint {
            Endpoint::Discovery => "discovery",
            Endpoint::Device => "device",
            _ => "token",
        };
        let requests = idp.requests();
        requests.last().is_some_and(|last| last.label.starts_with(label) && last.done == done && last.status.is_none())
    }
}

/// How many refresh tokens the provider has given out.
fn granted(idp: &Provider) -> usize {
    idp.issued().iter().filter(|secret| secret.starts_with("refresh-")).count()
}

/// Tries each way to end at each of these points.
fn everywhere(points: &[Point], ends: fn(Point, End)) {
    thread::scope(|scope| {
        for point in points {
            scope.spawn(|| End::ALL.iter().for_each(|how| ends(*point, *how)));
        }
    });
}

/// Refresh tokens rotate, and one that is used twice ends the session: nothing is lost, and nothing is used twice.
#[test]
fn a_renewal_is_lost_at_no_point_however_its_caller_ends() {
    use Endpoint::{Discovery, Token};
    let points = [Point::Asked(Discovery), Point::Done(Discovery), Point::Asked(Token), Point::Done(Token)];
    everywhere(&points, |point, how| {
        let scene = Scene::signed_in(Options { rotation: true, ..Options::default() });
        let hold = hold_a_renewal(&scene, point);
        let caller = scene.start_under_a_shell("never");
        end_at(&scene, point, how, &caller);
        caller.finish();
        assert_eq!(scene.idp.requests().last().unwrap().status, None, "{point:?} {how:?}: it did not wait");
        drop(hold);
        scene.settle();
        // The worker has gone on by itself.
        assert_eq!(scene.idp.count("token:refresh_token"), 1, "{point:?} {how:?}");
        assert!(scene.idp.accepts(&scene.token()), "{point:?} {how:?}");
        scene.leave(-1);
        assert!(scene.idp.accepts(&scene.token()), "{point:?} {how:?}");
        assert_eq!(scene.idp.count("token:refresh_token"), 2, "{point:?} {how:?}");
        scene.assert_proper();
    });
}

/// A person is asked twice only where the process was killed between the provider's answer and the disk.
#[test]
fn a_sign_in_is_lost_at_no_point_that_is_not_a_kill_between_answer_and_disk() {
    use Endpoint::{Device, Discovery, Token};
    let asked = [Discovery, Device, Token].map(Point::Asked);
    everywhere(&[&asked[..], &[Device, Token].map(Point::Done)].concat(), sign_in_ends);
}

fn sign_in_ends(point: Point, how: End) {
    let scene = Scene::new(Options::default());
    let kept = hold(&scene, point);
    let caller = scene.start_under_a_shell("always");
    let at_poll = matches!(point, Point::Asked(Endpoint::Token) | Point::Done(Endpoint::Token));
    if at_poll {
        scene.idp.approve(&caller.code());
    }
    end_at(&scene, point, how, &caller);
    let killed = matches!(how, End::Signal(Signal::KILL) | End::WithParent);
    if at_poll && !killed {
        // It waits for the answer to the one request that may bring a grant, and saves that first.
        drop(kept);
        let output = caller.finish();
        assert_eq!(output.stdout, "", "{point:?} {how:?}");
        assert!(scene.idp.accepts(&scene.token()), "{point:?} {how:?}");
        assert_eq!(scene.idp.user_codes().len(), 1, "{point:?} {how:?}");
        return scene.assert_proper();
    }
    caller.finish();
    drop(kept);
    scene.settle();
    let (codes, spent) = (scene.idp.user_codes().len(), granted(&scene.idp) == 1);
    let next = scene.start(["token"]);
    let shown = next.code();
    let is_same = codes > 0 && scene.idp.user_codes()[0] == shown;
    // A code that was shown and written down is gone on with, unless it is spent.
    assert_eq!(is_same, at_poll, "{point:?} {how:?}");
    if !is_same {
        scene.idp.approve(&shown);
    } else if spent {
        // Its answer went to the dead.
        wait_until("another code", || code(&next.stderr().replacen(&shown, "", 1)).is_some());
        scene.idp.approve(scene.idp.user_codes().last().unwrap());
    }
    assert!(scene.idp.accepts(&token(&next.finish())), "{point:?} {how:?}");
    let more = usize::from(!is_same || spent);
    assert_eq!(scene.idp.user_codes().len(), codes + more, "{point:?} {how:?}");
    assert!(!refresh_token(&scene.session()).is_empty());
    assert_eq!(scene.idp.too_fast(), 0, "{point:?} {how:?}");
}

/// What is told to the worker itself, by its own number, changes nothing.
#[test]
fn a_worker_takes_no_notice_of_what_ends_others_at_any_point() {
    let points = [Point::Asked(Endpoint::Discovery), Point::Asked(Endpoint::Token), Point::Done(Endpoint::Token)];
    for point in points {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let scene = Scene::signed_in(Options { rotation: true, ..Options::default() });
            let hold = hold_a_renewal(&scene, point);
            let caller = scene.start(["token"]);
            wait_until(&format!("{point:?}"), || point.is_reached(&scene.idp));
            kill_process(worker_of(caller.pid()).unwrap(), signal).unwrap();
            drop(hold);
            assert!(scene.idp.accepts(&token(&caller.finish())), "{point:?} {signal:?}");
            assert_eq!(scene.idp.count("token:refresh_token"), 1, "{point:?} {signal:?}");
            scene.assert_proper();
        }
    }
}
