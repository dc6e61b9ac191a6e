//! `keyfob setup … --undo`: files are byte for byte as before, whatever was in them and in whatever order setups are taken
//! back; where somebody has changed them meanwhile, only keyfob's own lines go.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::Fresh;
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Options, Provider};

/// A host by path, for which git needs a line more.
const TEAM: &str = "https://git.lab:8443/team";
const CONFIG: &str = ".config/keyfob/config.toml";
const LAB: &str = "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'k'\n";

/// Runs `keyfob setup` to a good end.
#[track_caller]
fn setup(fresh: &Fresh, args: &[&str]) -> String {
    fresh.run(&[&["setup"], args, &["--yes"]].concat())
}

#[test]
fn what_git_had_it_has_again() {
    for before in [
        "",
        "[user]\n\tname = Ada",
        "; mine\r\n[user]   ; me\r\n  name=Ada\r\n",
        "[credential \"https://git.lab:8443/team\"] ; empty\n\n[user]\n name  =  Ada\n",
        "[Credential \"https://git.lab:8443/team\"]\n\tuseHttpPath=true # mine\n",
        "[include]\n\tpath = other\n[credential]\n\thelper = store\n[credential \"https://github.com\"]\n\thelper = store\n",
    ] {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        fresh.write(".gitconfig", before);
        fresh.write("other", "[credential]\n\thelper = cache\n");
        let untouched = fresh.files();
        setup(&fresh, &["git", "--profile", "lab", TEAM]);
        let with = fresh.files();
        assert_ne!(with, untouched);
        let again = setup(&fresh, &["git", "--profile", "lab", TEAM]);
        assert!(again.contains(": nothing to do.\n"), "{again}");
        assert_eq!(fresh.files(), with);
        setup(&fresh, &["git", "--undo", TEAM]);
        assert_eq!(fresh.files(), untouched, "{before}");
        let again = setup(&fresh, &["git", "--undo", TEAM]);
        assert!(again.contains(": nothing to do.\n"), "{again}");
        assert_eq!(fresh.files(), untouched);
    }
}

#[test]
fn what_config_toml_had_it_has_again() {
    for tables in
        ["", "\n[hosts]\n\n[az]\n", "\n[hosts]", "\n# end", "\n[az] # empty\n\n\n", "\n[hosts]\r\n[az]\r\n", "\nx = 1"]
    {
        let fresh = Fresh::new();
        // A key that keyfob does not know is only a table's own business.
        let text =
            if tables == "\nx = 1" { format!("hosts = {{ }}\naz = {{}}\n{LAB}") } else { format!("{LAB}{tables}") };
        fresh.write(CONFIG, &text);
        let untouched = fresh.files();
        setup(&fresh, &["git", "--profile", "lab", TEAM]);
        setup(&fresh, &["az", "--profile", "lab", "bin"]);
        setup(&fresh, &["az", "--undo", "bin"]);
        setup(&fresh, &["git", "--undo", TEAM]);
        assert_eq!(fresh.files(), untouched, "{text}");
    }

    let idp = Provider::start(Options::default());
    let fresh = Fresh::new();
    fresh.write(CONFIG, "");
    let untouched = fresh.files();
    setup(&fresh, &["git", TEAM, "--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"]);
    setup(&fresh, &["git", "--undo", TEAM]);
    assert_eq!(fresh.files(), untouched);
}

#[test]
fn dotfiles_that_are_links_stay_links() {
    for was_there in [true, false] {
        let fresh = Fresh::new();
        fresh.write("dotfiles/config.toml", LAB);
        fs::create_dir_all(fresh.path(".config/keyfob")).unwrap();
        symlink("../../dotfiles/config.toml", fresh.path(CONFIG)).unwrap();
        symlink("dotfiles/gitconfig", fresh.path(".gitconfig")).unwrap();
        if was_there {
            fresh.write("dotfiles/gitconfig", "[user]\nname=Ada");
        }
        let untouched = fresh.files();
        setup(&fresh, &["git", "--profile", "lab", TEAM]);
        assert!(fresh.read("dotfiles/gitconfig").contains("keyfob git"));
        assert!(fresh.read("dotfiles/config.toml").contains("[hosts]"));
        setup(&fresh, &["git", "--undo", TEAM]);
        assert_eq!(fresh.files(), untouched);
    }
}

#[test]
fn gits_other_places_are_known() {
    let fresh = Fresh::new();
    fresh.write(CONFIG, LAB);
    fresh.write(".config/git/config", "[user]\nname=Ada");
    let untouched = fresh.files();
    setup(&fresh, &["git", "--profile", "lab", TEAM]);
    assert!(fresh.read(".config/git/config").contains("keyfob git") && !fresh.path(".gitconfig").exists());
    // From now on git itself would look elsewhere.
    fresh.write(".gitconfig", "[color]\nui=auto");
    setup(&fresh, &["git", "--undo", TEAM]);
    fs::remove_file(fresh.path(".gitconfig")).unwrap();
    assert_eq!(fresh.files(), untouched);

    fresh.write("own", "[color]\nui=auto");
    let untouched = fresh.files();
    for args in [&["git", "--profile", "lab", TEAM][..], &["git", "--undo", TEAM]] {
        let mut command = fresh.command(&[&["setup"], args, &["--yes"]].concat());
        let done = Output::of(command.env("GIT_CONFIG_GLOBAL", fresh.path("own")), b"");
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(fresh.read("own").contains("keyfob git"), args[1] != "--undo");
    }
    assert_eq!(fresh.files(), untouched);
}

#[test]
fn where_somebody_has_changed_a_file_only_keyfobs_own_lines_go() {
    let fresh = Fresh::new();
    let by_path = format!("[credential \"{TEAM}\"]\n\tuseHttpPath = true\n");
    fresh.write(CONFIG, &format!("{LAB}\n[hosts]\n[az]\n"));
    fresh.write(".gitconfig", &by_path);
    setup(&fresh, &["git", "--profile", "lab", TEAM]);
    setup(&fresh, &["az", "--profile", "lab", "bin"]);
    for (name, line) in [(CONFIG, "# more\n"), (".gitconfig", "[user]\n\tname = Ada\n")] {
        fresh.write(name, &(fresh.read(name) + line));
    }
    let undone = setup(&fresh, &["git", "--undo", TEAM]);
    for name in [CONFIG, ".gitconfig"] {
        let note =
            format!("Note: {} has been changed since; only keyfob's part is taken back\n", fresh.path(name).display());
        assert!(undone.contains(&note), "{undone}");
    }
    setup(&fresh, &["az", "--undo", "bin"]);
    assert_eq!(fresh.read(CONFIG), format!("{LAB}\n[hosts]\n[az]\n# more\n"));
    assert_eq!(fresh.read(".gitconfig"), format!("{by_path}[user]\n\tname = Ada\n"));

    // Lines that were there before `setup` came to the same are not its own.
    let fresh = Fresh::new();
    fresh.write(CONFIG, &format!("{LAB}\n[hosts]\n'{TEAM}' = 'lab'\n\n[az]\nprofile = 'lab'\n"));
    setup(&fresh, &["git", "--profile", "lab", TEAM]);
    setup(&fresh, &["az", "--profile", "lab", "bin"]);
    fresh.write(CONFIG, &format!("# more\n{}", fresh.read(CONFIG)));
    let with = fresh.read(CONFIG);
    setup(&fresh, &["git", "--undo", TEAM]);
    setup(&fresh, &["az", "--undo", "bin"]);
    assert_eq!(fresh.read(CONFIG), with);
    assert!(!fresh.path(".gitconfig").exists() && !fresh.path("bin").exists());
}

#[test]
fn files_that_setup_made_go_even_if_they_were_changed_and_changed_back_to_nothing() {
    let idp = Provider::start(Options::default());
    let fresh = Fresh::new();
    let untouched = fresh.files();
    let flags = ["--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"];
    setup(&fresh, &[&["git", TEAM], &flags[..]].concat());
    for name in [CONFIG, ".gitconfig"] {
        fresh.write(name, &format!("\n{}", fresh.read(name)));
    }
    setup(&fresh, &["git", "--undo", TEAM]);
    assert_eq!(fresh.files(), untouched);
}

#[test]
fn of_two_hosts_each_goes_by_itself() {
    let hub = "https://github.com";
    for (first, last) in [(TEAM, hub), (hub, TEAM)] {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        fresh.write(".gitconfig", "[user]\nname=Ada");
        let untouched = fresh.files();
        for together in [true, false] {
            if together {
                setup(&fresh, &["git", "--profile", "lab", TEAM, hub]);
            } else {
                setup(&fresh, &["git", "--profile", "lab", TEAM]);
                setup(&fresh, &["git", "--profile", "lab", hub]);
            }
            setup(&fresh, &["git", "--undo", first]);
            for name in [CONFIG, ".gitconfig"] {
                let text = fresh.read(name);
                assert!(!text.contains(&format!("\"{first}\"")) && text.contains(&format!("\"{last}\"")), "{text}");
            }
            setup(&fresh, &["git", "--undo", last]);
            assert_eq!(fresh.files(), untouched);
        }
        setup(&fresh, &["git", "--profile", "lab", TEAM]);
        setup(&fresh, &["git", "--profile", "lab", hub, hub]);
        setup(&fresh, &["git", "--undo", first, last, first]);
        assert_eq!(fresh.files(), untouched);
    }
}

#[test]
fn az_goes_from_the_folder_it_is_in() {
    let fresh = Fresh::new();
    fresh.write(CONFIG, &format!("{LAB}\n[az]"));
    let untouched = fresh.files();
    setup(&fresh, &["az", "--profile", "lab", "bin"]);
    let with = fresh.files();
    let other = setup(&fresh, &["az", "--undo", "--profile", "lab", "other"]);
    let bin = fresh.path("bin");
    assert!(
        other.contains(&format!(
            ": nothing to do.\nNote: [az] keeps the profile \"lab\", for az in {}\n",
            bin.display()
        )),
        "{other}"
    );
    assert_eq!(fresh.files(), with);

    setup(&fresh, &["az", "other"]);
    setup(&fresh, &["az", "--undo", "bin"]);
    assert!(fresh.read(CONFIG).contains("profile = \"lab\""));
    setup(&fresh, &["az", "--undo", "other"]);
    assert_eq!(fresh.files(), untouched);
}
