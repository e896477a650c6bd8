//! Delivers outbox entries upstream, as the upstream contract says.

use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// The `[upstream]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base URL; `/v1/events` is appended.
    #[schemars(with = "String")]
    pub url: Url,
    /// How hisync proves who it is.
    pub auth: Auth,
}

/// How hisync proves to upstream who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Signs each batch as Standard Webhooks say.
    WebhookSignature {
        /// The shared secret, `whsec_…` or base64.
        secret: Secret,
    },
}
