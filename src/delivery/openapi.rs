//! The upstream contract for machines: an OpenAPI 3.1 document made from the model's types.

use schemars::SchemaGenerator;
use serde_json::{Value as Json, json};

use super::client::BATCH_MEDIA_TYPE;
use super::digests::wire::{DigestAnswer, DigestQuery};
use super::heartbeat::Heartbeat;
use super::receipt::Receipts;
use super::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::model::event::Withdrawal;
use crate::model::schema::{published, schema_uri, withdrawal_schema_uri};
use crate::model::{CloudEvent, CriticalValue, EntityType, ExamItem, ExamItemGroup, ExamPackage, ExamReport};

/// The OpenAPI document.
pub fn document() -> Json {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hisync upstream contract",
            "version": "1",
            "description": "What hisync sends and how it reads the answers. The receiving side implements this.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "https://sync.example.com", "description": "The base URL in the agent's configuration" }],
        "security": [{ "webhookSignature": [] }, { "bearer": [] }, { "mutualTls": [] }],
        "paths": {
            "/v1/events": { "post": events() },
            "/v1/attachments/{sha256}": { "put": attachments() },
            "/v1/heartbeats": { "post": heartbeats() },
            "/v1/digests": { "post": digests() },
        },
        "components": {
            "schemas": schemas(),
            "parameters": parameters(),
            "headers": {
                "RetryAfter": {
                    "description": "How long to wait, in seconds or as an HTTP-date. With 429 and 503 it holds \
                                    for everything, at most a day.",
                    "schema": { "type": "string" },
                },
            },
            "securitySchemes": {
                "webhookSignature": {
                    "type": "apiKey", "in": "header", "name": SIGNATURE_HEADER,
                    "description": "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 over \
                                    `webhook-id.webhook-timestamp.body`, the body before compression. \
                                    Several are separated by spaces.",
                },
                "bearer": { "type": "http", "scheme": "bearer" },
                "mutualTls": { "type": "mutualTLS" },
            },
        },
    })
}

/// The document as it is printed and kept: pretty, with a line end.
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn reference(schema: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn signed_parameters() -> Vec<Json> {
    ["WebhookId", "WebhookTimestamp", "WebhookSignature"]
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .to_vec()
}

fn parameters() -> Json {
    let header = |name: &str, required: bool, description: &str, schema: Json| {
        let place = "header";
        json!({ "name": name, "in": place, "required": required, "description": description, "schema": schema })
    };
    json!({
        "WebhookId": header(ID_HEADER, true,
            "The batch's id: the same on every attempt of the same batch.", json!({ "type": "string" })),
        "WebhookTimestamp": header(TIMESTAMP_HEADER, false,
            "Seconds since 1970 at which this attempt was signed; with `webhookSignature` only.",
            json!({ "type": "string", "pattern": "^[0-9]+$" })),
        "WebhookSignature": header(SIGNATURE_HEADER, false,
            "See the security scheme; with `webhookSignature` only.", json!({ "type": "string" })),
        "ContentEncoding": header("content-encoding", false,
            "How the body is compressed, as the agent is configured.", json!({ "enum": ["gzip", "zstd"] })),
    })
}

fn faults() -> Json {
    let retry = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
    let fault = |description: &str| json!({ "description": description });
    json!({
        "401": fault("The credentials do not hold. Delivery is paused, everything is kept, a person is called."),
        "403": fault("As 401."),
        "404": fault("As 401: the address is wrong."),
        "405": fault("As 404."),
        "408": fault("Sent again later."),
        "425": fault("Sent again later."),
        "429": { "description": "Sent again later; everything waits as long as asked.", "headers": retry },
        "500": fault("Sent again later, as after every 5xx."),
        "503": { "description": "Sent again later; everything waits as long as asked.", "headers": retry },
    })
}

fn with_faults(answers: Json) -> Json {
    let mut all = faults();
    if let (Json::Object(all), Json::Object(answers)) = (&mut all, answers) {
        all.extend(answers);
    }
    all
}

fn events() -> Json {
    let mut parameters = signed_parameters();
    parameters.push(json!({ "$ref": "#/components/parameters/ContentEncoding" }));
    json!({
        "operationId": "postEvents",
        "summary": "A batch of events",
        "description": "At most one event per entity is on its way at a time. Answer only when the events are on \
                        stable storage. Apply an event whose sequence is not larger than the last one of its \
                        subject by answering `duplicate`.",
        "parameters": parameters,
        "requestBody": { "required": true, "content": { BATCH_MEDIA_TYPE: { "schema": reference("Batch") } } },
        "responses": with_faults(json!({
            "200": {
                "description": "One receipt per event; an event that is not named is sent again. Without a body: \
                                all accepted.",
                "content": { "application/json": { "schema": reference("Receipts") } },
            },
            "202": { "description": "All accepted." },
            "204": { "description": "All accepted." },
            "400": { "description": "The batch is sent again in halves, until the bad event stands alone and is held.",
                     "content": { "application/json": { "schema": reference("Refusal") } } },
            "413": { "description": "As 400; a single event is held as `too-large`." },
            "422": { "description": "As 400.", "content": { "application/json": { "schema": reference("Refusal") } } },
        })),
    })
}

fn attachments() -> Json {
    let mut parameters = signed_parameters();
    parameters.push(json!({
        "name": "sha256", "in": "path", "required": true, "description": "The SHA-256 of the body, in hex.",
        "schema": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
    }));
    json!({
        "operationId": "putAttachment",
        "summary": "A file that a report names",
        "description": "Sent before the event that names it, and not again for another event once it is stored. \
                        Answer `retry` with the code `attachment-unknown` to an event that names a file which is not \
                        here: the file is sent again, then the event.",
        "parameters": parameters,
        "requestBody": { "required": true, "content": { "*/*": {} } },
        "responses": with_faults(json!({
            "200": { "description": "Stored." },
            "201": { "description": "Stored." },
            "204": { "description": "Stored." },
            "400": { "description": "Never to be taken: the events that name it are held for a person.",
                     "content": { "application/json": { "schema": reference("Refusal") } } },
            "409": { "description": "Stored already." },
            "413": { "description": "As 400: too large." },
            "415": { "description": "As 400: upstream takes no files of this kind." },
            "422": { "description": "As 400: the address is not the SHA-256 of the body." },
        })),
    })
}

fn heartbeats() -> Json {
    json!({
        "operationId": "postHeartbeat",
        "summary": "The agent's pulse",
        "description": "Each minute. One that fails is not repeated.",
        "parameters": signed_parameters(),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": reference("Heartbeat") } },
        },
        "responses": with_faults(json!({ "204": { "description": "Noted." } })),
    })
}

fn digests() -> Json {
    let mut answers = faults();
    if let Json::Object(answers) = &mut answers {
        for status in ["404", "405", "501"] {
            let answer = json!({ "description": "This upstream tells no digests. Delivery goes on without." });
            answers.insert(status.to_owned(), answer);
        }
        let answer = json!({
            "description": "One group for each node.",
            "content": { "application/json": { "schema": reference("DigestAnswer") } },
        });
        answers.insert("200".to_owned(), answer);
    }
    json!({
        "operationId": "postDigests",
        "summary": "What upstream has, group by group (optional)",
        "description": "By this the agent finds what upstream lost, and sends it again. It changes nothing here.",
        "parameters": signed_parameters(),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": reference("DigestQuery") } },
        },
        "responses": answers,
    })
}

fn schemas() -> Json {
    let settings = published().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    generator.subschema_for::<CloudEvent>();
    generator.subschema_for::<Withdrawal>();
    generator.subschema_for::<ExamItem>();
    generator.subschema_for::<ExamItemGroup>();
    generator.subschema_for::<ExamPackage>();
    generator.subschema_for::<ExamReport>();
    generator.subschema_for::<CriticalValue>();
    generator.subschema_for::<Heartbeat>();
    generator.subschema_for::<Receipts>();
    generator.subschema_for::<DigestQuery>();
    generator.subschema_for::<DigestAnswer>();
    let mut schemas = generator.take_definitions(true);
    let mut cases = vec![(withdrawal_schema_uri(), "Withdrawal")];
    cases.extend(EntityType::ALL.map(|entity| (schema_uri(entity), schema_name(entity))));
    let uris: Vec<&str> = cases.iter().map(|(uri, _)| uri.as_str()).collect();
    let conditions = cases.iter().map(|(uri, name)| {
        json!({
            "if": { "properties": { "dataschema": { "const": uri } } },
            "then": { "properties": { "data": reference(name) } },
        })
    });
    let mut all = vec![reference("CloudEvent"), json!({ "properties": { "dataschema": { "enum": uris } } })];
    all.extend(conditions);
    schemas.insert(
        "Event".to_owned(),
        json!({ "description": "An event; `dataschema` tells what `data` is.", "allOf": all }),
    );
    schemas.insert(
        "Batch".to_owned(),
        json!({
            "description": "CloudEvents 1.0, batched JSON format. An empty batch asks whether events would be taken.",
            "type": "array",
            "items": reference("Event"),
        }),
    );
    schemas.insert(
        "Refusal".to_owned(),
        json!({
            "description": "Why a whole batch is refused. Shown to the person who looks at the event that is held.",
            "type": "object",
            "properties": { "code": { "type": "string", "maxLength": 64 }, "message": { "type": "string" } },
        }),
    );
    Json::Object(schemas)
}

fn schema_name(entity: EntityType) -> &'static str {
    match entity {
        EntityType::ExamItem => "ExamItem",
        EntityType::ExamItemGroup => "ExamItemGroup",
        EntityType::ExamPackage => "ExamPackage",
        EntityType::ExamReport => "ExamReport",
        EntityType::CriticalValue => "CriticalValue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change of the contract: `hisync openapi > config/openapi.json`, or this test with
    /// `HISYNC_ACCEPT=1`.
    #[test]
    fn the_kept_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");
        if std::env::var_os("HISYNC_ACCEPT").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == text(), "config/openapi.json is out of date: hisync openapi > config/openapi.json");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        let mut found = 0;
        while let Some(value) = open.pop() {
            match value {
                Json::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(Json::as_str) {
                        found += 1;
                        let pointer = target.strip_prefix('#').expect("a reference inside the document");
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    open.extend(map.values());
                }
                Json::Array(list) => open.extend(list),
                _ => {}
            }
        }
        assert!(found > 40);
    }
}
