//! `keyfob setup` of the tools that are connected host by host: files are byte for byte as before, in whatever order hosts are
//! taken back; what tools run is what `doctor` says.

use crate::common::{Fresh, PROGRAM};
use keyfob_test_support::Output;

const CONFIG: &str = ".config/keyfob/config.toml";
const LAB: &str = "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'k'\n";

/// A tool, its file, what may be in it, and two hosts.
struct Tool {
    name: &'static str,
    file: &'static str,
    befores: &'static [&'static str],
    hosts: [&'static str; 2],
    more: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "docker",
        file: ".docker/config.json",
        befores: &[
            "{}",
            "{\n\t\"auths\": {\n\t\t\"a.example\": {\n\t\t\t\"auth\": \"aHVudGVyMg==\"\n\t\t}\n\t}\n}",
            "{\"auths\":{\"a.example\":{\"auth\":\"aHVudGVyMg==\"}},\"credHelpers\":{\"gcr.io\":\"gcr\"}}\n",
        ],
        hosts: ["ghcr.io", "registry.lab:5000"],
        more: &["--bin", "bin"],
    },
    Tool {
        name: "pip",
        file: ".config/pip/pip.conf",
        befores: &["", "[global]\nindex-url = https://u:hunter2@pypi.example/simple\n", "[install]\nno-deps = yes"],
        hosts: ["https://pypi.example/simple", "https://pypi.lab"],
        more: &["--bin", "bin"],
    },
    Tool {
        name: "cargo",
        file: ".cargo/config.toml",
        befores: &[
            "[registries.one]\nindex = \"sparse+https://crates.example/index/\"\n[registries]\ntwo = { index = 'sparse+https://two.example' } # x\n",
        ],
        hosts: ["https://crates.example/index", "two.example"],
        more: &[],
    },
    Tool {
        name: "go",
        file: ".config/go/env",
        befores: &["", "GOPROXY=direct", "GOAUTH=git /src\nGOPROXY=direct\n"],
        hosts: ["https://go.example", "https://go.lab/team"],
        more: &[],
    },
    Tool {
        name: "terraform",
        file: ".terraformrc",
        befores: &["", "disable_checkpoint = true"],
        hosts: ["tf.example", "tf.lab:8443"],
        more: &[],
    },
    Tool {
        name: "pnpm",
        file: ".npmrc",
        befores: &["", "//npm.example/:_authToken=hunter2"],
        hosts: ["https://npm.example", "https://npm.lab/team"],
        more: &[],
    },
];

/// Runs `keyfob setup` to a good end, from the program's own place.
#[track_caller]
fn setup(fresh: &Fresh, args: &[&str]) -> String {
    let said = fresh.run(&[&["setup"], args, &["--yes"]].concat());
    assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
    said
}

#[test]
fn what_a_tool_had_it_has_again() {
    for Tool { name, file, befores, hosts, more } in TOOLS {
        let befores = befores.iter().map(Some).chain((*name != "cargo").then_some(None));
        for before in befores {
            for order in [[0, 1], [1, 0]] {
                let fresh = Fresh::new();
                fresh.write(CONFIG, LAB);
                if let Some(before) = before {
                    fresh.write(file, before);
                }
                let untouched = fresh.files();
                for host in hosts {
                    let args = [&[*name, "--profile", "lab"], *more, &[host]].concat();
                    setup(&fresh, &args);
                    let with = fresh.files();
                    let again = setup(&fresh, &args);
                    assert!(again.contains(": nothing to do.\n"), "{again}");
                    assert_eq!(fresh.files(), with);
                }
                assert_ne!(fresh.files(), untouched);
                for host in order.map(|at| hosts[at]) {
                    setup(&fresh, &[name, "--undo", host]);
                }
                assert_eq!(fresh.files(), untouched, "{name} {before:?} {order:?}");
            }
        }
    }
}

#[test]
fn where_a_file_was_changed_since_only_keyfobs_part_goes() {
    for Tool { name, file, befores, hosts, more } in TOOLS {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        let before = befores.last().unwrap().trim_end().to_owned() + "\n";
        fresh.write(file, &before);
        for host in hosts {
            setup(&fresh, &[&[*name, "--profile", "lab"], *more, &[host]].concat());
        }
        let edited = fresh.read(file) + "\n";
        fresh.write(file, &edited);
        for host in hosts {
            setup(&fresh, &[name, "--undo", host]);
        }
        let left = fresh.read(file);
        assert!(!left.contains("keyfob"), "{name}: {left}");
        let blank = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(blank(&left), blank(&before), "{name}");
        assert_eq!(fresh.read(CONFIG), LAB, "{name}");
        assert!(!fresh.path("bin").exists() && !fresh.path(".terraform.d").exists(), "{name}");
    }
}

/// AWS has no hosts: a profile of its own asks for a role's keys.
#[test]
fn aws_has_its_profile_as_it_was() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/dev";
    for before in
        [None, Some(""), Some("[default]\nregion = eu-west-1\n\n[profile dev]\nregion = x"), Some("[profile other]\n")]
    {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        if let Some(before) = before {
            fresh.write(".aws/config", before);
        }
        let untouched = fresh.files();
        let args = ["aws", "--profile", "lab", "--role", ROLE, "--region", "eu-west-1", "dev"];
        setup(&fresh, &args);
        let line = format!("credential_process = {PROGRAM} aws --profile lab --role {ROLE} --region eu-west-1\n");
        assert!(fresh.read(".aws/config").contains(&format!("[profile dev]\n{line}")));
        assert!(setup(&fresh, &args).contains(": nothing to do.\n"));
        let doctor = Output::of(&mut fresh.command(&["doctor", "--offline"]), b"").stdout;
        assert!(doctor.contains(&format!("ok     aws dev: AWS runs {PROGRAM} for the profile \"lab\"\n")), "{doctor}");
        setup(&fresh, &["aws", "--undo", "dev"]);
        assert_eq!(fresh.files(), untouched, "{before:?}");
    }
    let fresh = Fresh::new();
    fresh.write(CONFIG, LAB);
    fresh.write(".aws/config", "[profile dev]\ncredential_process = /opt/vault keys\n");
    let output = Output::of(&mut fresh.command(&["setup", "aws", "--profile", "lab", "dev", "--yes"]), b"");
    let error = "error: AWS runs \"/opt/vault keys\" for [profile dev] already, in ";
    assert!(output.code == Some(2) && output.stderr.starts_with(error), "{output:?}");
    fresh.write(
        ".aws/config",
        &format!("[profile dev]\ncredential_process = {PROGRAM} aws --profile lab\nregion = x\n"),
    );
    setup(&fresh, &["aws", "--undo", "dev"]);
    assert_eq!(fresh.read(".aws/config"), "[profile dev]\nregion = x\n");
}

#[test]
fn doctor_says_what_a_tool_runs() {
    for Tool { name, file, befores, hosts, more } in TOOLS {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        fresh.write(file, befores.last().unwrap());
        let doctor = || {
            let mut command = fresh.command(&["doctor", "--offline"]);
            let path = std::env::var_os("PATH").unwrap();
            let path =
                std::env::join_paths([fresh.path("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
            let output = Output::of(command.env("PATH", path), b"");
            let lines = output.stdout.lines().skip_while(|line| !line.contains(&format!(" {name} https://")));
            lines.take(2).map(|line| line.trim().to_owned() + "\n").collect::<String>()
        };
        setup(&fresh, &[&[*name, "--profile", "lab"], *more, &[hosts[0]]].concat());
        let there = fresh.run(&["setup"]);
        assert!(there.to_lowercase().contains(&format!("{name}: https://")), "{there}");
        let said = doctor();
        assert!(
            said.starts_with(&format!("ok     {name} https://")) && said.contains(" for the profile \"lab\""),
            "{said}"
        );
        let with = fresh.read(file);
        fresh.write(file, befores.last().unwrap());
        let said = doctor();
        let remedy = format!("$ keyfob setup {name} --profile lab https://");
        // pnpm's own file names the profile: without it nothing says that the registry has one.
        let none = *name == "pnpm" && said.is_empty();
        assert!(none || said.contains("does not ask keyfob") && said.contains(&remedy), "{said}");
        fresh.write(file, &with.replace(PROGRAM, "/nowhere/keyfob"));
        let _ = std::fs::remove_dir_all(fresh.path("bin"));
        let _ = std::fs::remove_dir_all(fresh.path(".terraform.d"));
        let said = doctor();
        assert!(said.starts_with("error") && said.contains("which does not exist"), "{said}");
    }
}

/// keyfob keeps no passwords: it is one registry's helper, and never docker's store.
#[test]
fn docker_has_keyfob_for_one_registry_and_never_as_its_store() {
    let fresh = Fresh::new();
    fresh.write(CONFIG, LAB);
    setup(&fresh, &["docker", "--profile", "lab", "--bin", "bin", "ghcr.io"]);
    let with = fresh.read(".docker/config.json");
    assert!(!with.contains("credsStore"), "{with}");
    let doctor = || Output::of(&mut fresh.command(&["doctor", "--offline"]), b"").stdout;
    let finding = "docker: it asks keyfob for every registry, and `docker login` can keep no passwords";
    assert!(!doctor().contains(finding));
    fresh.write(".docker/config.json", &with.replacen('{', "{\"credsStore\": \"keyfob\",", 1));
    let said = doctor();
    assert!(said.contains(finding) && said.contains("remove \"credsStore\" from "), "{said}");
}

#[test]
fn what_another_has_is_left_to_it() {
    let fresh = Fresh::new();
    fresh.write(
        CONFIG,
        &format!(
            "{LAB}[profile.other]\n[hosts]\n'https://taken.example' = {{ profile = 'other', callers = ['docker'] }}\n"
        ),
    );
    fresh.write(".docker/config.json", "{\"credHelpers\":{\"gcr.io\":\"gcr\"}}");
    fresh.write(".terraformrc", "credentials_helper \"vault\" {}\n");
    fresh.write(".config/pip/pip.conf", "[global]\nkeyring-provider = import\n");
    let untouched = fresh.files();
    for (args, error) in [
        (&["docker", "gcr.io"][..], "error: docker has \"docker-credential-gcr\" for https://gcr.io already, in "),
        (&["docker", "taken.example"], "error: https://taken.example has the token of profile \"other\" already\n"),
        (
            &["terraform", "tf.example"],
            "error: Terraform has \"terraform-credentials-vault\" for https://tf.example already",
        ),
        (&["pip", "https://pypi.example"], "error: pip has \"import\" for https://pypi.example already"),
        (
            &["cargo", "https://crates.example"],
            "error: cargo knows no registry whose index is https://crates.example\n",
        ),
        (&["pnpm", "https://*.npm.example"], "error: pnpm has no wildcards\n"),
    ] {
        let output = Output::of(&mut fresh.command(&[&["setup"], args, &["--profile", "lab", "--yes"]].concat()), b"");
        assert!(output.code == Some(2) && output.stderr.starts_with(error), "{output:?}");
    }
    assert_eq!(fresh.files(), untouched);
}
