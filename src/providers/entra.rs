//! Advice for Microsoft Entra ID's error numbers (`AADSTS…`). The numbers only choose the advice. What is done about an
//! error follows from `error` and `suberror`, because the numbers may change at any time.
//! <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>

use std::ops::RangeInclusive;

/// The audience of a federated credential in each cloud.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust>
pub(super) const ASSERTION_AUDIENCES: &[(&str, &str)] = &[
    ("https://login.microsoftonline.com", "api://AzureADTokenExchange"),
    ("https://login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"),
    ("https://login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina"),
    ("https://login.chinacloudapi.cn", "api://AzureADTokenExchangeChina"),
];

/// Advice by error number.
pub(super) const ADVICE: &[(RangeInclusive<u32>, &str)] = &[
    (50059..=50059, "set `tenant` to a tenant's id or domain, or to `organizations`"),
    (90133..=90133, "this authority has no device flow: set `tenant` to a tenant's id or domain"),
    (50011..=50011, "register the redirect address `http://localhost` with the application, for mobile and desktop"),
    (90002..=90002, "check `tenant` for a typing error; or the tenant has no active subscription: ask who manages it"),
    (700_016..=700_016, "check `client-id` and `tenant`: this tenant does not know the application"),
    (7_000_218..=7_000_218, "in the application's registration, under Authentication, allow public client flows"),
    (
        65001..=65001,
        "an administrator of the tenant must consent to the application, or sign in to it once in a browser",
    ),
    (50076..=50076, "sign in again: this needs multi-factor authentication"),
    (50079..=50079, "sign in again: this needs multi-factor authentication, which the account has yet to set up"),
    (50173..=50173, SESSION_ENDED),
    (70043..=70043, SESSION_ENDED),
    (700_082..=700_082, SESSION_ENDED),
    (70008..=70008, SESSION_ENDED),
    (53000..=53099, CONDITIONAL_ACCESS),
    (530_000..=530_999, CONDITIONAL_ACCESS),
    (50097..=50097, CONDITIONAL_ACCESS),
    (50199..=50199, CONDITIONAL_ACCESS),
    (70021..=70021, FEDERATION),
    (700_211..=700_213, FEDERATION),
    (
        700_024..=700_024,
        "check this machine's clock, and that the assertion is a new one: it is not valid at this time",
    ),
    (700_027..=700_027, "register the certificate with the application; the provider does not know it"),
    (7_000_215..=7_000_215, "check the client secret: it must be the secret's value, not its id"),
    (7_000_222..=7_000_222, "make a new client secret: this one has expired"),
    (1_002_012..=1_002_012, "set `scopes` to RESOURCE/.default: a machine gets what it was granted, and names no more"),
    (50196..=50196, "wait some minutes: the provider was asked too often"),
    (500_011..=500_011, "check the scope: this tenant does not know its resource"),
    (500_014..=500_014, "check the scope: its resource is disabled in this tenant"),
    (9_002_313..=9_002_313, "check `client-id` and `scopes`: the provider cannot read the request"),
];

const FEDERATION: &str = "add a federated credential with this token's issuer, subject and audience to the application";
const SESSION_ENDED: &str = "sign in again: the refresh token has expired or was revoked";
const CONDITIONAL_ACCESS: &str = "Conditional Access forbids this sign-in: ask the tenant's administrator, or try the other flow (--flow browser, --flow device)";

/// Conditional Access refuses sign-ins and sessions by device code.
pub(super) const DEVICE_REFUSALS: &[RangeInclusive<u32>] =
    &[53000..=53099, 530_000..=530_999, 50097..=50097, 50199..=50199];

/// The error numbers in a description, in order.
pub(super) fn numbers_in(description: &str) -> impl Iterator<Item = u32> + '_ {
    description.split("AADSTS").skip(1).filter_map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok()
    })
}
