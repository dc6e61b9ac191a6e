//! Kubernetes clients other than client-go, unmodified. Each loads its configuration, lists pods, and does that again in the
//! same process: all of it with one token, which is never renewed for that.

use std::path::Path;
use std::process::Command;

use crate::kubectl::{Cluster, assert_pods};
use keyfob_test_support::real::{KubeHome, Lifetimes, Request, npm, on_this_machine, pypi};
use keyfob_test_support::{Output, need};

/// How often each client loads its configuration.
const TIMES: usize = 6;

/// Runs a program with these packages and this kubeconfig.
fn run(cluster: &Cluster, home: &KubeHome, program: &Path, words: &[&str], packages: &Path) -> Output {
    let mut command: Command = cluster.keyfob.other(program);
    command.args(words).env("HOME", home.path()).env("KUBECONFIG", home.path().join(".kube/config"));
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(packages);
    Output::of(&mut command, b"")
}

/// Runs a program that lists the pods of a cluster where a person is signed in already.
fn lists_pods(api_version: &'static str, program: &Path, words: &[&str], packages: &Path) {
    let cluster = need!(Cluster::new(Lifetimes::default()));
    let home = cluster.home(api_version, true, &[]);
    let mut first = cluster.get_pods(&home);
    cluster.provider.sign_in(&first.prompt());
    assert_pods(&first.finish());
    let before = cluster.api.requests();
    let (token, asked) = (&before.last().unwrap().token, cluster.provider.requests().len());

    let output = run(&cluster, &home, program, words, packages);
    assert_eq!((output.code, output.stdout), (Some(0), "web-0 web-1\n".repeat(TIMES)), "{}", output.stderr);
    let requests = cluster.api.requests();
    let requests = &requests[before.len()..];
    let lists = requests.iter().filter(|request| request.path.ends_with("/pods"));
    assert_eq!(lists.filter(|request| request.status == 200).count(), TIMES, "{requests:?}");
    assert!(requests.iter().all(|request| request.status != 401 && request.token == *token), "{requests:?}");
    assert_eq!(cluster.provider.count(Request::is_refresh), 0);
    assert_eq!(cluster.provider.requests().len(), asked);
}

fn python(api_version: &'static str, packages: &[&str], import: &str, list: &str) {
    let packages = need!(pypi(packages));
    let program = format!("{import}\nfor _ in range({TIMES}):\n  print(*({list}))\n");
    lists_pods(api_version, &need!(on_this_machine("python3")), &["-c", &program], &packages);
}

#[test]
fn python_loads_its_configuration_again_and_again() {
    python(
        "v1",
        &["kubernetes==37.0.2"],
        "from kubernetes import client, config",
        "pod.metadata.name for pod in (config.load_kube_config(), client.CoreV1Api())[1].list_namespaced_pod('default').items",
    );
}

#[test]
fn lightkube_makes_a_client_again_and_again() {
    let import = "from lightkube import Client\nfrom lightkube.resources.core_v1 import Pod";
    let list = "pod.metadata.name for pod in Client().list(Pod, namespace='default')";
    python("v1beta1", &["lightkube==1.0.1"], import, list);
}

#[test]
fn pykube_reads_its_configuration_again_and_again() {
    let list = "pod.name for pod in pykube.Pod.objects(pykube.HTTPClient(pykube.KubeConfig.from_file()))";
    python("v1beta1", &["pykube-ng==23.6.0"], "import pykube", list);
}

#[test]
fn kr8s_makes_a_client_again_and_again() {
    let import = "import kr8s";
    let list = "pod.name for pod in kr8s.Api._instances.clear() or kr8s.api().get('pods')";
    python("v1", &["kr8s==0.20.15"], import, list);
}

#[test]
fn javascript_loads_its_configuration_again_and_again() {
    let modules = need!(npm("@kubernetes/client-node@1.4.0"));
    let program = format!(
        "import {{ CoreV1Api, KubeConfig }} from '@kubernetes/client-node';
        for (let time = 0; time < {TIMES}; time++) {{
          const config = new KubeConfig();
          config.loadFromDefault();
          const {{ items }} = await config.makeApiClient(CoreV1Api).listNamespacedPod({{ namespace: 'default' }});
          console.log(items.map((pod) => pod.metadata.name).join(' '));
        }}"
    );
    let words = ["--input-type=module", "--eval", &program];
    lists_pods("v1", &need!(on_this_machine("node")), &words, modules.parent().unwrap());
}

/// Where no prompt can be shown, the libraries that take stderr for themselves pass on which command to run.
#[test]
fn what_to_run_stands_in_the_error_of_a_client_without_a_terminal() {
    let cluster = need!(Cluster::new(Lifetimes::default()));
    let python = need!(on_this_machine("python3"));
    for (api_version, package, program) in [
        // It writes that into its log and goes on without a token.
        (
            "v1",
            "kubernetes==37.0.2",
            "from kubernetes import client, config; config.load_kube_config(); client.CoreV1Api().list_namespaced_pod('default')",
        ),
        (
            "v1beta1",
            "lightkube==1.0.1",
            "from lightkube import Client; from lightkube.resources.core_v1 import Pod\nlist(Client().list(Pod))",
        ),
        ("v1", "kr8s==0.20.15", "import kr8s; kr8s.api()"),
        (
            "v1beta1",
            "pykube-ng==23.6.0",
            "import pykube; list(pykube.Pod.objects(pykube.HTTPClient(pykube.KubeConfig.from_file())))",
        ),
    ] {
        let home = cluster.home_with_prompt("never", api_version, false, &[]);
        let packages = need!(pypi(&[package]));
        let output = run(&cluster, &home, &python, &["-c", program], &packages);
        assert!(output.code == Some(1) && output.stderr.contains("a sign-in is needed"), "{package}: {output:?}");
        assert!(output.stderr.contains("keyfob login"), "{package}: {output:?}");
    }
    let modules = need!(npm("@kubernetes/client-node@1.4.0"));
    let program = "import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
        const config = new KubeConfig();
        config.loadFromDefault();
        await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: 'default' });";
    let (words, folder) = (["--input-type=module", "--eval", program], modules.parent().unwrap());
    let home = cluster.home_with_prompt("never", "v1", false, &[]);
    let output = run(&cluster, &home, &need!(on_this_machine("node")), &words, folder);
    assert!(output.code == Some(1) && output.stderr.contains("keyfob login"), "{output:?}");
    assert!(cluster.api.requests().iter().all(|request| request.token.is_empty()));
}
