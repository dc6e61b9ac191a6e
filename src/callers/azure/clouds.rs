//! What az knows about Azure's clouds: their names, and the resources for `--resource-type` and `cloud show`.

/// One cloud.
#[derive(Debug)]
pub(super) struct Cloud {
    /// The name in az.
    pub(super) name: &'static str,
    /// Where accounts of the cloud sign in.
    authority: &'static str,
    /// Resource Manager's address.
    pub(super) resource_manager: &'static str,
    /// The values of `--resource-type`, with their resources.
    resources: &'static [(&'static str, &'static str)],
}

/// The public cloud is first; it also stands for every unknown authority.
const CLOUDS: &[Cloud] = &[
    Cloud {
        name: "AzureCloud",
        authority: "https://login.microsoftonline.com",
        resource_manager: "https://management.azure.com/",
        resources: &[
            ("arm", "https://management.core.windows.net/"),
            ("aad-graph", "https://graph.windows.net/"),
            ("ms-graph", "https://graph.microsoft.com/"),
            ("batch", "https://batch.core.windows.net/"),
            ("media", "https://rest.media.azure.net"),
            ("data-lake", "https://datalake.azure.net/"),
            ("oss-rdbms", "https://ossrdbms-aad.database.windows.net"),
        ],
    },
    Cloud {
        name: "AzureUSGovernment",
        authority: "https://login.microsoftonline.us",
        resource_manager: "https://management.usgovcloudapi.net/",
        resources: &[
            ("arm", "https://management.core.usgovcloudapi.net/"),
            ("aad-graph", "https://graph.windows.net/"),
            ("ms-graph", "https://graph.microsoft.us/"),
            ("batch", "https://batch.core.usgovcloudapi.net/"),
            ("media", "https://rest.media.usgovcloudapi.net"),
            ("oss-rdbms", "https://ossrdbms-aad.database.usgovcloudapi.net"),
        ],
    },
    Cloud {
        name: "AzureChinaCloud",
        authority: "https://login.partner.microsoftonline.cn",
        resource_manager: "https://management.chinacloudapi.cn",
        resources: &[
            ("arm", "https://management.core.chinacloudapi.cn/"),
            ("aad-graph", "https://graph.chinacloudapi.cn/"),
            ("ms-graph", "https://microsoftgraph.chinacloudapi.cn"),
            ("batch", "https://batch.chinacloudapi.cn/"),
            ("media", "https://rest.media.chinacloudapi.cn"),
            ("oss-rdbms", "https://ossrdbms-aad.database.chinacloudapi.cn"),
        ],
    },
];

impl Cloud {
    /// The cloud for an authority.
    pub(super) fn at(authority: &str) -> &'static Self {
        CLOUDS.iter().find(|cloud| cloud.authority == authority).unwrap_or(&CLOUDS[0])
    }

    /// The resource for a value of `--resource-type`.
    pub(super) fn resource(&self, kind: &str) -> Option<&'static str> {
        self.resources.iter().find(|(known, _)| *known == kind).map(|(_, resource)| *resource)
    }

    /// All values of `--resource-type`.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.resources.iter().map(|(kind, _)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_authority_and_every_authority_a_cloud() {
        for (authority, name) in [
            ("https://login.microsoftonline.com", "AzureCloud"),
            ("https://login.microsoftonline.us", "AzureUSGovernment"),
            ("https://login.partner.microsoftonline.cn", "AzureChinaCloud"),
            ("http://127.0.0.1:8080", "AzureCloud"),
        ] {
            let cloud = Cloud::at(authority);
            assert_eq!(cloud.name, name);
            assert!(cloud.resource("arm").is_some_and(|arm| arm.ends_with('/')), "{name}");
        }
        assert_eq!(Cloud::at("").resource("nonsense"), None);
    }
}
