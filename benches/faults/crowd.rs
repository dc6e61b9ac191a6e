//! Many callers at once, on one terminal, in everything that can be the matter with a session and its provider.

use std::fs;
use std::time::{Duration, Instant};

use keyfob_test_support::Terminal;
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};

use crate::common::{PROGRAM, SOON, Scene, wait_until};
use crate::verdict;

/// Runs `$N` callers; they leave their answers and exit codes in `answer.1` to `answer.N`.
const CALLERS: &str = r#"
    i=0
    while [ $i -lt $N ]; do
        i=$((i + 1))
        { "$KEYFOB" token >"$HOME/answer.$i"; echo "exit $?" >>"$HOME/answer.$i"; } &
    done
    wait
"#;

/// What each caller has to get.
#[derive(Clone, Copy)]
enum Answer {
    /// The token that was cached before.
    Cached,
    /// One that the provider made meanwhile, the same for all.
    New,
    /// No token, and this exit code.
    Exit(u8),
}

/// One thing that can be the matter.
struct Case {
    name: &'static str,
    options: Options,
    /// Somebody has signed in before, and the cached token lives for so many seconds more.
    cached: Option<i64>,
    auto: Auto,
    reply: Reply,
    /// Where the provider holds the first caller until all the others wait for it.
    held: Option<(Endpoint, &'static str)>,
    answer: Answer,
    /// Prompts, device requests and refreshes.
    expected: [usize; 3],
    /// How often it happens, one after the other; the expectation is for each time.
    rounds: usize,
}

impl Case {
    /// The session's token has ended, and the refresh works.
    fn new(name: &'static str) -> Self {
        Self {
            name,
            options: Options { rotation: false, ..Options::default() },
            cached: Some(-1),
            auto: Auto::Approve,
            reply: Reply::Real,
            held: Some((Endpoint::Token, "token:refresh_token")),
            answer: Answer::New,
            expected: [0, 0, 1],
            rounds: 1,
        }
    }
}

/// After this one the provider is well again.
const ENDED: &str = "provider 5xx, token ended";

fn cases() -> Vec<Case> {
    let device = Some((Endpoint::Device, "device"));
    let slow = Options { delay: Duration::from_secs(3), rotation: false, ..Options::default() };
    vec![
        Case { cached: Some(3600), held: None, answer: Answer::Cached, expected: [0, 0, 0], ..Case::new("fresh") },
        Case::new("expired"),
        Case { cached: None, held: device, expected: [1, 1, 0], ..Case::new("no session") },
        Case {
            cached: None,
            auto: Auto::Deny,
            held: device,
            answer: Answer::Exit(4),
            expected: [1, 1, 0],
            ..Case::new("refused")
        },
        Case { reply: Reply::Drop, answer: Answer::Exit(5), ..Case::new("provider down") },
        Case { options: slow, held: None, ..Case::new("provider slow") },
        Case {
            cached: Some(100),
            reply: Reply::empty(503),
            answer: Answer::Cached,
            ..Case::new("provider 5xx, token due")
        },
        Case { reply: Reply::empty(503), answer: Answer::Exit(5), ..Case::new(ENDED) },
        Case { options: Options::default(), rounds: 5, ..Case::new("rotation, reuse detected") },
    ]
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    prompts: usize,
    devices: usize,
    refreshes: usize,
    right: usize,
    wrong: usize,
    lost: usize,
}

/// Prints the table; whether everything was as promised.
pub(crate) fn table(callers: usize) -> bool {
    println!("\n{callers} callers at once on one terminal\n");
    println!("                            prompts  device  refresh   right  wrong  lost   time");
    let mut good = true;
    for case in cases() {
        let began = Instant::now();
        let scene = if case.cached.is_some() {
            Scene::signed_in(case.options.clone())
        } else {
            Scene::new(case.options.clone())
        };
        let mut outcome = Outcome::default();
        for _ in 0..case.rounds {
            round(&case, &scene, callers, &mut outcome);
        }
        good &= print(case.name, &case, callers, &outcome, began.elapsed());
        if case.name == ENDED {
            // The same session again.
            let well = Case::new("… then well");
            let mut outcome = Outcome::default();
            round(&well, &scene, callers, &mut outcome);
            good &= print(well.name, &well, callers, &outcome, Duration::ZERO);
        }
        good &= scene.idp.refresh_reuses() == 0 && scene.idp.too_fast() == 0 && scene.idp.polls_after_success() == 0;
    }
    good
}

fn print(name: &str, case: &Case, callers: usize, outcome: &Outcome, time: Duration) -> bool {
    let Outcome { prompts, devices, refreshes, right, wrong, lost } = *outcome;
    let seen = [prompts, devices, refreshes];
    let good = seen == case.expected.map(|n| n * case.rounds) && (right, wrong, lost) == (callers * case.rounds, 0, 0);
    println!(
        "{name:<28}{prompts:>7} {devices:>7} {refreshes:>8} {right:>7} {wrong:>6} {lost:>5} {:>5.1} s  {}",
        time.as_secs_f64(),
        verdict(good)
    );
    good
}

/// All callers at once, once; adds what came of it.
fn round(case: &Case, scene: &Scene, callers: usize, outcome: &mut Outcome) {
    let cached = case.cached.map(|left| {
        scene.leave(left);
        scene.session()["tokens"][0]["token"].as_str().unwrap().to_owned()
    });
    scene.idp.auto(case.auto);
    let (devices, refreshes) = (scene.idp.count("device"), scene.idp.count("token:refresh_token"));
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", CALLERS]).env("KEYFOB", PROGRAM).env("N", callers.to_string()).env("TERM", "xterm");

    let hold = case.held.map(|(endpoint, _)| scene.idp.hold(endpoint));
    let endpoint = case.held.map_or(Endpoint::Token, |(endpoint, _)| endpoint);
    scene.idp.always(endpoint, case.reply.clone());
    let terminal = Terminal::start(shell);
    if let Some((_, request)) = case.held {
        let before = if request == "device" { devices } else { refreshes };
        scene.idp.wait_for(request, before + 1, SOON);
        wait_until("all callers but one to wait", || waiting(terminal.pid()) + 1 >= callers);
    }
    drop(hold);
    let ended = terminal.wait();
    scene.idp.always(endpoint, Reply::Real);

    outcome.prompts += ended.screen.matches("Enter code  ").count();
    outcome.devices += scene.idp.count("device") - devices;
    outcome.refreshes += scene.idp.count("token:refresh_token") - refreshes;
    let mut new = None;
    for caller in 1..=callers {
        let text = fs::read_to_string(scene.keyfob.home().join(format!("answer.{caller}"))).unwrap_or_default();
        let got = match (case.answer, text.as_str()) {
            (Answer::Exit(code), text) if text == format!("exit {code}\n") => &mut outcome.right,
            (Answer::Cached | Answer::New, text) if text.ends_with("\nexit 0\n") => {
                let token = text.trim_end_matches("\nexit 0\n");
                let right = match case.answer {
                    Answer::Cached => cached.as_deref() == Some(token),
                    _ => {
                        cached.as_deref() != Some(token)
                            && scene.idp.accepts(token)
                            && new.get_or_insert_with(|| token.to_owned()) == token
                    }
                };
                if right { &mut outcome.right } else { &mut outcome.wrong }
            }
            (_, text) if text.ends_with("exit 0\n") => &mut outcome.wrong,
            _ => &mut outcome.lost,
        };
        *got += 1;
    }
    // Whatever happened, who was signed in still is.
    if case.cached.is_some() && case.rounds == 1 && scene.silently(["token"]).code != Some(0) {
        outcome.lost += 1;
    }
}

/// How many keyfobs below a process wait in turns, as one does for another: it has gone to sleep again and again.
fn waiting(shell: u32) -> usize {
    let read = |pid: &str, what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let children = |pid: &str| -> Vec<String> {
        read(pid, &format!("task/{pid}/children")).split_whitespace().map(str::to_owned).collect()
    };
    let sleeps = |pid: &String| {
        let status = read(pid, "status");
        let keyfob = status.starts_with("Name:\tkeyfob\n");
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        keyfob && switches.and_then(|n| n.trim().parse().ok()).is_some_and(|n: u32| n >= 20)
    };
    let jobs = children(&shell.to_string());
    jobs.iter().flat_map(|job| children(job)).chain(jobs.iter().cloned()).filter(sleeps).count()
}
