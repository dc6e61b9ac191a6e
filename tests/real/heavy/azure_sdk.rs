//! The real Azure SDK for JavaScript, unmodified, with keyfob as its az and azd.

use crate::azure_sdk::{
    challenge_by_claims, five_calls_are_five_runs, get_tokens, name_a_tenant, say_unavailable_when_signed_out,
};
use keyfob_test_support::entra::OTHER_TENANT;
use keyfob_test_support::real::AzureSdk;
use serde_json::json;

#[test]
fn javascript_gets_tokens() {
    get_tokens(AzureSdk::javascript());
}

#[test]
fn five_calls_from_javascript_are_five_runs() {
    five_calls_are_five_runs(
        AzureSdk::javascript(),
        "az account get-access-token --output json --resource https://graph.microsoft.com",
        "azd auth token --output json --no-prompt --scope https://graph.microsoft.com/.default",
    );
}

#[test]
fn javascript_says_unavailable_when_signed_out() {
    say_unavailable_when_signed_out(AzureSdk::javascript());
}

#[test]
fn javascript_names_a_tenant() {
    name_a_tenant(AzureSdk::javascript(), &json!({ "tenantId": OTHER_TENANT }));
}

#[test]
fn javascript_challenges_by_claims() {
    challenge_by_claims(AzureSdk::javascript());
}
