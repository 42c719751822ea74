//! Documents: what becomes of an upload, how it is looked at, and what is left when it is deleted.

use std::fmt::Write as _;

use dev::testing::{Platform, Setup, eventually};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{EndpointExt, Route, Server, handler, post};
use reqwest::Response;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bad_input::{files, refused};

/// Two languages, typeset; its text is known.
pub(crate) const HANDBOOK: &[u8] = include_bytes!("../../../workers/tests/fixtures/handbook.pdf");

/// A small PDF under construction: objects, numbered from 1 as they are added.
#[derive(Clone, Default)]
pub(crate) struct Pdf {
    objects: Vec<String>,
    trailer: String,
}

impl Pdf {
    /// One page for each text, set in one line.
    pub(crate) fn pages(texts: &[&str]) -> Self {
        // The catalogue, the tree and the font come first, then two objects for each page.
        let kids: Vec<String> = (0..texts.len())
            .map(|page| format!("{} 0 R", 4 + 2 * page))
            .collect();
        let start = Self::default()
            .object("<< /Type /Catalog /Pages 2 0 R >>")
            .object(&format!(
                "<< /Type /Pages /Kids [{}] /Count {} >>",
                kids.join(" "),
                texts.len()
            ))
            .object(
                "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            );
        texts.iter().enumerate().fold(start, |pdf, (page, text)| {
            let content = 5 + 2 * page;
            pdf.object(&format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R \
                 /Resources << /Font << /F1 3 0 R >> >> >>"
            ))
            .stream("", &format!("BT /F1 12 Tf 72 700 Td ({text}) Tj ET"))
        })
    }

    pub(crate) fn object(mut self, body: &str) -> Self {
        self.objects.push(body.to_owned());
        self
    }

    pub(crate) fn stream(self, entries: &str, data: &str) -> Self {
        let length = data.len();
        self.object(&format!(
            "<< /Length {length} {entries} >>\nstream\n{data}\nendstream"
        ))
    }

    pub(crate) fn trailer(mut self, entries: &str) -> Self {
        entries.clone_into(&mut self.trailer);
        self
    }

    /// How many objects there are: the number of the last.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = "%PDF-1.7\n".to_owned();
        let size = self.objects.len() + 1;
        let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
        for (index, object) in self.objects.iter().enumerate() {
            writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
            writeln!(file, "{} 0 obj{object}\nendobj", index + 1).unwrap();
        }
        let (start, trailer) = (file.len(), &self.trailer);
        writeln!(
            file,
            "{table}trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF"
        )
        .unwrap();
        file.into_bytes()
    }
}

/// A PDF of one page for each text.
pub(crate) fn typeset(pages: &[&str]) -> Vec<u8> {
    Pdf::pages(pages).bytes()
}

/// A Markdown file of so many sections, each about a chunk long.
fn sections(count: usize) -> Vec<u8> {
    (0..count)
        .fold(String::new(), |mut text, number| {
            let sentence =
                format!("Rule {number} says that shelf {number} is dusted before the shop opens. ");
            writeln!(text, "# Rule {number}\n\n{}\n", sentence.repeat(20)).unwrap();
            text
        })
        .into_bytes()
}

fn path_of(document: &Value) -> String {
    format!("/api/v1/documents/{}", document["id"].as_str().unwrap())
}

fn names(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["filename"].as_str().unwrap())
        .collect()
}

async fn upload(platform: &Platform, filename: &str, bytes: &[u8]) -> Value {
    let response = platform
        .upload_as(&platform.business, filename, bytes.to_vec())
        .await;
    assert_eq!(response.status(), 202);
    response.json().await.unwrap()
}

async fn delete(platform: &Platform, path: &str) -> Response {
    let key = platform.business.api_key.expose_secret();
    platform
        .http
        .delete(platform.url(path))
        .bearer_auth(key)
        .send()
        .await
        .unwrap()
}

/// How many rows `table` has of a document.
async fn rows(platform: &Platform, table: &str, document: &Value) -> i64 {
    let id: Uuid = document["id"].as_str().unwrap().parse().unwrap();
    let query = format!("SELECT count(*) FROM {table} WHERE document_id = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .bind(id)
        .fetch_one(&platform.owner)
        .await
        .unwrap()
}

/// What a job is doing.
async fn job(platform: &Platform, document: &Value) -> Value {
    platform
        .get_json(&format!(
            "/api/v1/jobs/{}",
            document["job_id"].as_str().unwrap()
        ))
        .await
}

fn without_workers() -> Setup {
    let mut setup = crate::setup();
    setup.workers = false;
    setup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_pending_until_a_worker_has_read_it() {
    let platform = without_workers().start().await;

    let pdf = upload(&platform, "C:\\Documents\\guide d'été.pdf", HANDBOOK).await;
    let markdown = upload(&platform, "notes.md", &sections(8)).await;
    let text = upload(
        &platform,
        "hours.txt",
        b"\xef\xbb\xbfCaf\xc3\xa9 : ouvert de 8 h \xc3\xa0 18 h.",
    )
    .await;
    let pending = platform.get_json(&path_of(&pdf)).await;
    assert_eq!(pending, pdf, "what the upload answered");
    assert_eq!(pending["filename"], "guide d'été.pdf");
    assert_eq!(pending["media_type"], "application/pdf");
    assert_eq!(pending["size_bytes"], HANDBOOK.len());
    assert_eq!(pending["status"], "pending");
    for field in [
        "pages",
        "chunks",
        "language",
        "error",
        "error_code",
        "processed_at",
    ] {
        assert!(pending[field].is_null(), "{field}");
    }
    let waiting = job(&platform, &pdf).await;
    assert_eq!(
        (&waiting["kind"], &waiting["status"]),
        (&json!("ingest_document"), &json!("queued"))
    );
    assert_eq!(
        (&waiting["attempts"], &waiting["finished_at"]),
        (&json!(0), &Value::Null)
    );
    assert!(
        platform
            .get_json(&format!("{}/chunks", path_of(&pdf)))
            .await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let _workers = platform.spawn(&["workers"]);
    let [pdf, markdown, text] =
        futures::future::join_all([pdf, markdown, text].map(async |document| {
            eventually("the document is processed", async || {
                let document = platform.get_json(&path_of(&document)).await;
                (document["status"] == "processed").then_some(document)
            })
            .await
        }))
        .await
        .try_into()
        .unwrap();

    assert_eq!((&pdf["pages"], &pdf["language"]), (&json!(2), &json!("fr")));
    assert!(pdf["chunks"].as_i64().unwrap() >= 2);
    assert!(pdf["processed_at"].as_str().unwrap() > pdf["created_at"].as_str().unwrap());
    let ended = job(&platform, &pdf).await;
    assert_eq!(
        (&ended["status"], &ended["attempts"]),
        (&json!("succeeded"), &json!(1))
    );
    assert!(
        ended["finished_at"].is_string() && ended.get("error").is_none(),
        "{ended}"
    );
    assert_eq!(markdown["language"], "en");
    assert_eq!(
        (&text["chunks"], &text["language"]),
        (&json!(1), &json!("fr"))
    );

    let chunks = platform
        .get_json(&format!("{}/chunks", path_of(&pdf)))
        .await;
    let chunks = chunks["data"].as_array().unwrap();
    assert_eq!(json!(chunks.len()), pdf["chunks"]);
    let pages: Vec<i64> = chunks
        .iter()
        .map(|chunk| chunk["page"].as_i64().unwrap())
        .collect();
    assert!(
        pages.is_sorted() && pages[0] == 1 && pages[pages.len() - 1] == 2,
        "{pages:?}"
    );
    let extinguishers = chunks
        .iter()
        .find(|chunk| chunk["text"].as_str().unwrap().contains("extinguishers"))
        .unwrap();
    assert_eq!(extinguishers["page_end"], 2, "{extinguishers}");

    // Page by page: all of them, once each, in the document's order.
    let count = markdown["chunks"].as_u64().unwrap();
    assert!(count >= 5, "{markdown}");
    let (mut cursor, mut indexes) = (String::new(), Vec::new());
    loop {
        let page = platform
            .get_json(&format!(
                "{}/chunks?limit=2&cursor={cursor}",
                path_of(&markdown)
            ))
            .await;
        let data = page["data"].as_array().unwrap();
        assert!(
            data.iter()
                .all(|chunk| chunk["page"].is_null() && chunk["tokens"].as_i64().unwrap() > 0)
        );
        indexes.extend(data.iter().map(|chunk| chunk["index"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        assert_eq!(data.len(), 2);
        next.clone_into(&mut cursor);
    }
    assert_eq!(indexes, (0..count).collect::<Vec<_>>());
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_listed_newest_first_page_by_page() {
    let platform = without_workers().start().await;
    for number in 1..=5 {
        upload(&platform, &format!("{number}.txt"), b"text").await;
    }

    let first = platform.get_json("/api/v1/documents?limit=2").await;
    assert_eq!(names(&first), ["5.txt", "4.txt"]);
    // What comes meanwhile moves nothing.
    upload(&platform, "6.txt", b"text").await;
    let next = |page: &Value| {
        format!(
            "/api/v1/documents?limit=2&cursor={}",
            page["next_cursor"].as_str().unwrap()
        )
    };
    let second = platform.get_json(&next(&first)).await;
    assert_eq!(names(&second), ["3.txt", "2.txt"]);
    assert!(
        delete(&platform, &path_of(&second["data"][1]))
            .await
            .status()
            == 204,
        "the cursor's own document"
    );
    let third = platform.get_json(&next(&second)).await;
    assert_eq!(
        (names(&third), &third["next_cursor"]),
        (vec!["1.txt"], &Value::Null)
    );

    let all = platform.get_json("/api/v1/documents?status=pending").await;
    assert_eq!(names(&all), ["6.txt", "5.txt", "4.txt", "3.txt", "1.txt"]);
    assert!(
        names(
            &platform
                .get_json("/api/v1/documents?status=processed")
                .await
        )
        .is_empty()
    );
    // Exactly a page: there is no next.
    let exact = platform.get_json("/api/v1/documents?limit=5").await;
    assert_eq!(
        (names(&exact).len(), &exact["next_cursor"]),
        (5, &Value::Null)
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_document_removes_all_that_was_made_of_it() {
    let platform = crate::setup().start().await;
    let derived = [
        "chunks",
        "chunk_embeddings",
        "postings",
        "lexical_statistics",
    ];
    // The same file twice: two documents, each its own.
    let (first, second) = tokio::join!(
        platform.ingest("handbook.pdf", HANDBOOK.to_vec()),
        platform.ingest("handbook.pdf", HANDBOOK.to_vec()),
    );
    assert_ne!(first["id"], second["id"]);
    assert_eq!(
        names(&platform.get_json("/api/v1/documents").await),
        ["handbook.pdf"; 2]
    );
    for table in derived {
        let of_first = rows(&platform, table, &first).await;
        assert!(
            of_first > 0 && of_first == rows(&platform, table, &second).await,
            "{table}"
        );
    }
    let objects = platform.config.objects.data_dir.join("objects");
    assert_eq!(files(&objects), 2);

    let path = path_of(&first);
    assert_eq!(delete(&platform, &path).await.status(), 204);

    for path in [path.clone(), format!("{path}/chunks")] {
        refused(&path, platform.get(&path).await, 404, "NOT_FOUND").await;
    }
    refused(
        "deleted again",
        delete(&platform, &path).await,
        404,
        "NOT_FOUND",
    )
    .await;
    for table in derived {
        assert_eq!(rows(&platform, table, &first).await, 0, "{table}");
        assert!(rows(&platform, table, &second).await > 0, "{table}");
    }
    eventually("the original is gone", async || {
        (files(&objects) == 1).then_some(())
    })
    .await;
    let question = json!({ "question": "How long does the warranty cover an oven?", "top_k": 20 });
    let hits: Value = platform
        .post("/api/v1/search", &question)
        .await
        .json()
        .await
        .unwrap();
    let hits = hits["sources"].as_array().unwrap();
    assert!(
        !hits.is_empty() && hits.iter().all(|hit| hit["document_id"] == second["id"]),
        "{hits:?}"
    );

    assert_eq!(delete(&platform, &path_of(&second)).await.status(), 204);
    eventually("both originals are gone", async || {
        (files(&objects) == 0).then_some(())
    })
    .await;
    let hits: Value = platform
        .post("/api/v1/search", &question)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(hits, json!({ "sources": [] }));
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_deleted_before_it_is_read_is_never_read() {
    let platform = without_workers().start().await;
    let document = upload(&platform, "handbook.pdf", HANDBOOK).await;

    assert_eq!(delete(&platform, &path_of(&document)).await.status(), 204);

    let cancelled = job(&platform, &document).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["attempts"]),
        (&json!("cancelled"), &json!(0))
    );
    let _workers = platform.spawn(&["workers"]);
    let objects = platform.config.objects.data_dir.join("objects");
    eventually("the original is gone", async || {
        (files(&objects) == 0).then_some(())
    })
    .await;
    assert_eq!(
        platform.ingest("notes.md", sections(1)).await["status"],
        "processed"
    );
    assert_eq!(job(&platform, &document).await, cancelled);
    assert_eq!(rows(&platform, "chunks", &document).await, 0);
    platform.stop().await;
}

/// A model that embeds only once it is let.
struct SlowModel {
    base_url: String,
    asked: watch::Receiver<bool>,
    let_go: watch::Sender<bool>,
}

type Gate = (watch::Sender<bool>, watch::Receiver<bool>);

impl SlowModel {
    async fn start() -> Self {
        let (asked_sender, asked) = watch::channel(false);
        let (let_go, gate) = watch::channel(false);
        let acceptor = TcpListener::bind("127.0.0.1:0")
            .into_acceptor()
            .await
            .unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        let app = Route::new()
            .at("/embeddings", post(embed))
            .data((asked_sender, gate));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
        Self {
            base_url: format!("http://{address}"),
            asked,
            let_go,
        }
    }
}

#[handler]
async fn embed(request: Json<Value>, gate: Data<&Gate>) -> Json<Value> {
    let (asked, let_go) = gate.0;
    asked.send_replace(true);
    let_go.clone().wait_for(|let_go| *let_go).await.unwrap();
    let texts = request.0["input"].as_array().unwrap().len();
    let data: Vec<Value> = (0..texts)
        .map(|index| json!({ "index": index, "embedding": vec![0.5; 1_536] }))
        .collect();
    Json(json!({ "data": data, "usage": { "prompt_tokens": 1, "total_tokens": 1 } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_deleted_while_it_is_read_leaves_nothing() {
    let mut model = SlowModel::start().await;
    let mut setup = crate::setup();
    setup.vars = [
        ("EMBEDDING_PROVIDER", "openai"),
        ("OPENAI_API_KEY", "sk-test"),
        ("OPENAI_BASE_URL", &model.base_url),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let platform = setup.start().await;
    let document = upload(&platform, "notes.md", &sections(3)).await;
    model.asked.wait_for(|asked| *asked).await.unwrap();
    assert_eq!(job(&platform, &document).await["status"], "running");

    assert_eq!(delete(&platform, &path_of(&document)).await.status(), 204);
    refused(
        "while it is read",
        platform.get(&path_of(&document)).await,
        404,
        "NOT_FOUND",
    )
    .await;
    model.let_go.send(true).unwrap();

    let ended = eventually("the job ends", async || {
        let job = job(&platform, &document).await;
        (job["status"] != "running").then_some(job)
    })
    .await;
    assert!(
        ["succeeded", "cancelled"]
            .iter()
            .any(|status| ended["status"] == *status),
        "{ended}"
    );
    for table in [
        "chunks",
        "chunk_embeddings",
        "postings",
        "lexical_statistics",
    ] {
        assert_eq!(rows(&platform, table, &document).await, 0, "{table}");
    }
    let objects = platform.config.objects.data_dir.join("objects");
    eventually("the original is gone", async || {
        (files(&objects) == 0).then_some(())
    })
    .await;
    let kept = platform.ingest("notes.md", sections(1)).await;
    assert_eq!(kept["status"], "processed", "the worker goes on");
    platform.stop().await;
}
