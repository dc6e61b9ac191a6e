//! For the tests of `keyfob setup kubernetes`: a home with a kubeconfig, and the real kubectl in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use keyfob_test_support::real::{Kubectl, Missing};
use keyfob_test_support::{Keyfob, Output};

use super::{PROGRAM, files, without_copies};

/// A home without any files of keyfob, and a kubectl.
pub struct Home {
    pub keyfob: Keyfob,
    kubectl: &'static Kubectl,
}

impl Home {
    /// With the newest kubectl, and this kubeconfig, if any.
    pub fn new(kubeconfig: Option<&str>) -> Result<Self, Missing> {
        Ok(Self::with(Kubectl::newest()?, kubeconfig))
    }

    /// With this kubectl and this kubeconfig, if any.
    pub fn with(kubectl: &'static Kubectl, kubeconfig: Option<&str>) -> Self {
        let home = Self { keyfob: Keyfob::new(PROGRAM), kubectl };
        fs::remove_file(home.keyfob.config_file()).unwrap();
        if let Some(text) = kubeconfig {
            fs::create_dir(home.path(".kube")).unwrap();
            fs::write(home.kubeconfig(), text).unwrap();
            fs::set_permissions(home.kubeconfig(), fs::Permissions::from_mode(0o640)).unwrap();
        }
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.keyfob.home().join(name)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.path(".kube/config")
    }

    /// A program in this home, with this kubectl first on `PATH`.
    pub fn other(&self, program: &Path) -> Command {
        let mut command = self.keyfob.other(program);
        let bin = self.path(".run/bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            symlink(&self.kubectl.path, bin.join("kubectl")).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(bin).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command.env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR");
        command
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.other(Path::new(PROGRAM));
        command.args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    /// Runs `keyfob setup kubernetes`, which must succeed, and returns its output.
    #[track_caller]
    pub fn setup(&self, args: &[&str]) -> String {
        let done = self.run(&[&["setup", "kubernetes", "--yes"], args].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        done.stdout
    }

    pub fn kubectl(&self, args: &[&str]) -> Output {
        Output::of(self.other(Path::new("kubectl")).args(args), b"")
    }

    /// Every file and folder, except the contents of caches and the copies that `setup` keeps.
    pub fn files(&self) -> Vec<String> {
        without_copies(files(self.keyfob.home(), &[".cache", ".kube/cache", ".run"]))
    }

    /// The text with `HOME` for the home's path and `KEYFOB` for the program's.
    pub fn plain(&self, text: &str) -> String {
        text.replace(self.keyfob.home().to_str().unwrap(), "HOME").replace(PROGRAM, "KEYFOB")
    }
}
