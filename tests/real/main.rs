//! keyfob with the real programs: kubectl, git, the Azure SDKs, an OpenID provider, a browser. What is missing on the
//! machine is skipped with a word on stderr; with `CI` set a skip is a failure.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod aws;
mod azure_sdk;
mod docker;
mod doctor;
mod git;
mod git_external;
mod git_lfs;
mod google;
mod heavy;
mod kubectl;
mod kubernetes_clients;
mod machines;
mod mail;
mod network;
mod oidc_provider;
mod packages;
mod python;
mod readme;
mod setup;
mod setup_kubelogin;
mod setup_kubernetes;
mod setup_undo;
