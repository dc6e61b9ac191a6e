//! `keyfob setup … --undo` of several tools at once, kubectl among them: files are byte for byte as before.

use std::fs;

use crate::common::ORDERS;
use crate::common::kube::Home;
use keyfob_test_support::need;
use keyfob_test_support::provider::{Options, Provider};

const TEAM: &str = "https://git.lab:8443/team";
const CONFIG: &str = ".config/keyfob/config.toml";

#[test]
fn three_tools_are_disconnected_in_any_order() {
    let idp = Provider::start(Options::default());
    let profile = ["--issuer", idp.issuer(), "--client-id", "keyfob"];
    // What nobody would write again as it stands; and nothing.
    let befores = [Some("hosts = {  }\naz={ } # mine"), None];
    for (order, before) in ORDERS.into_iter().flat_map(|order| befores.map(|before| (order, before))) {
        for edited_since in [false, true] {
            let home = need!(Home::new(Some("users: [{name: old, user: {token: x}}]  # mine\n")));
            fs::write(home.path(".gitconfig"), "[user]\nname=Ada").unwrap();
            let config = home.path(CONFIG);
            if let Some(before) = before {
                fs::create_dir_all(config.parent().unwrap()).unwrap();
                fs::write(&config, before).unwrap();
            }
            let untouched = home.files();
            let setup = |args: &[&str]| {
                let done = home.run(&[&["setup"], args, &["--yes", "--profile", "lab"]].concat());
                assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{order:?} {args:?}\n{done:?}");
            };
            let tools = [&["kubernetes"][..], &["git", TEAM], &["az", home.keyfob.home().to_str().unwrap()]];
            // Whichever comes first makes the profile.
            setup(&[tools[0], &profile].concat());
            setup(tools[1]);
            setup(tools[2]);
            if edited_since {
                fs::write(&config, format!("# more\n{}", fs::read_to_string(&config).unwrap())).unwrap();
            }
            for (nth, tool) in order.into_iter().enumerate() {
                setup(&[&tools[tool][..1], &["--undo"], &tools[tool][1..]].concat());
                let text = fs::read_to_string(&config).unwrap_or_default();
                let left = &order[nth + 1..];
                assert_eq!(text.contains(TEAM), left.contains(&1), "{order:?} {tool}: {text}");
                assert_eq!(text.contains("profile = \"lab\""), left.contains(&2), "{order:?} {tool}: {text}");
                assert_eq!(text.contains("[profile.lab]"), !left.is_empty(), "{order:?} {tool}: {text}");
            }
            if edited_since {
                let text = fs::read_to_string(&config).unwrap();
                assert!(text.starts_with("# more\n") && (before.is_some() || text == "# more\n"), "{order:?} {text}");
            } else {
                assert_eq!(home.files(), untouched, "{order:?}");
            }
        }
    }
}
