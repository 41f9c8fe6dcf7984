//! Models of the Hugging Face Hub, fetched into the cache that its other programs use.
//!
//! Only what is read here is fetched: configuration, safetensors, tokenizer, and what `sentence-transformers` and adapters add.
//! Pickles never are.

use std::fs;
use std::path::{Component, Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;

use crate::HubError;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_model.safetensors";

/// What is fetched beside weights, where a model has it.
const FILES: [&str; 27] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "modules.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
    "config_sentence_transformers.json",
    "adapter_config.json",
    ADAPTER,
];

/// Fetches a model, `org/name`, and gives the folder that it lies in. `revision` is a branch, tag or commit, `main` unless
/// given. What is there already is kept, and a file that was cut off goes on where it ended. With `offline` nothing is
/// fetched.
///
/// The cache is that of `huggingface_hub`: `$HF_HOME/hub`, or `~/.cache/huggingface/hub`. `$HF_TOKEN`, or the token that its
/// login has left there, opens models that need one; `$HF_ENDPOINT` names another server.
///
/// # Errors
/// If the name cannot be one, the server cannot be reached, the model is not there, or not for this token, or has no
/// safetensors.
pub fn pull(name: &str, revision: Option<&str>, offline: bool) -> Result<PathBuf, HubError> {
    let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
    let mut builder = ApiBuilder::from_env().with_retries(3);
    if token.is_some() {
        builder = builder.with_token(token);
    }
    Puller { name, revision: revision.unwrap_or("main"), cache: Cache::from_env() }.pull(builder, offline)
}

struct Puller<'a> {
    name: &'a str,
    revision: &'a str,
    cache: Cache,
}

impl Puller<'_> {
    fn pull(&self, builder: ApiBuilder, offline: bool) -> Result<PathBuf, HubError> {
        self.check()?;
        if offline {
            return self.kept().ok_or_else(|| self.error("it is not in the cache".to_owned()));
        }
        let api = builder.build().map_err(|error| self.failed(&error, "the server"))?;
        let named = self.repo(self.revision);
        let info = api.repo(named.clone()).info().map_err(|error| self.failed(&error, "the model"))?;
        let there: Vec<&str> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        let (files, has_shards) = wanted(&there).map_err(|problem| self.error(problem))?;
        // All files of one commit, whatever happens to the branch meanwhile.
        let commit = self.repo(&info.sha);
        let folder = self.cache.repo(commit.clone()).pointer_path(&info.sha);
        let from = From { api: api.repo(commit), folder: &folder };
        for file in &files {
            from.fetch(file).map_err(|error| self.failed(&error, file))?;
        }
        if has_shards {
            let shards = shards(&folder.join(INDEX), &there).map_err(|problem| self.error(problem))?;
            for file in &shards {
                from.fetch(file).map_err(|error| self.failed(&error, file))?;
            }
        }
        let noted = self.cache.repo(named).create_ref(&info.sha);
        noted.map_err(|source| HubError::Io { action: "write to", path: folder.clone(), source })?;
        Ok(folder)
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.to_owned(), RepoType::Model, revision.to_owned())
    }

    /// The folder of an earlier fetch.
    fn kept(&self) -> Option<PathBuf> {
        let repo = self.cache.repo(self.repo(self.revision));
        let config = ["config.json", "adapter_config.json", "modules.json"];
        let config = config.into_iter().find_map(|file| repo.get(file))?;
        config.parent().map(Path::to_owned)
    }

    /// Names become parts of paths and addresses.
    fn check(&self) -> Result<(), HubError> {
        let is_plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let parts: Vec<&str> = self.name.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            return Err(self.error("expected the name of a model, as org/name".to_owned()));
        }
        if !self.revision.split('/').all(is_plain) {
            let problem = format!("revision {:?}: expected a branch, a tag or a commit", self.revision);
            return Err(self.error(problem));
        }
        Ok(())
    }

    fn error(&self, reason: String) -> HubError {
        HubError::Pull { name: self.name.to_owned(), reason }
    }

    /// What an error of the server or of the way there means.
    fn failed(&self, error: &ApiError, what: &str) -> HubError {
        let reason = match error {
            ApiError::TooManyRetries(inner) => return self.failed(inner, what),
            ApiError::RequestError(request) => match &**request {
                ureq::Error::StatusCode(401 | 404) if what == "the model" => format!(
                    "there is no such model, or no revision {} of it, or it is private: check the name; for a private \
                     one set HF_TOKEN",
                    self.revision
                ),
                ureq::Error::StatusCode(401 | 403) => format!(
                    "{what} is given only to those who have agreed to the model's terms: agree on its page, and set \
                     HF_TOKEN to a token of that account"
                ),
                ureq::Error::StatusCode(code) => {
                    format!("the server answered {code} for {what}; try again later")
                }
                error => self.unreachable(&error.to_string()),
            },
            ApiError::IoError(error) => self.unreachable(&error.to_string()),
            ApiError::LockAcquisition(_) => format!("another program is fetching {what}; wait for it"),
            error => format!("{what} could not be fetched: {error}"),
        };
        self.error(reason)
    }

    fn unreachable(&self, error: &str) -> String {
        let kept = match self.kept() {
            Some(folder) => format!("an earlier fetch is in {}, which --offline gives", folder.display()),
            None => "without a network, copy the model's folder from elsewhere".to_owned(),
        };
        format!("it could not be fetched ({error}): check network, disk and HF_ENDPOINT; {kept}")
    }
}

/// A commit, and where its files go.
struct From<'a> {
    api: ApiRepo,
    folder: &'a Path,
}

impl From<'_> {
    fn fetch(&self, file: &str) -> Result<(), ApiError> {
        // Another program may have fetched it, under another revision.
        if self.folder.join(file).exists() { Ok(()) } else { self.api.download(file).map(drop) }
    }
}

/// Which of a model's files are fetched, in order, and whether the shards that its index names are, too.
fn wanted(there: &[&str]) -> Result<(Vec<String>, bool), String> {
    let mut files: Vec<&str> =
        there.iter().copied().filter(|file| FILES.contains(file) || of_module(file)).collect();
    let has = |file: &str| there.contains(&file);
    let has_shards = !has(WEIGHTS) && has(INDEX);
    match (has(WEIGHTS), has_shards, has(ADAPTER)) {
        (true, ..) => files.push(WEIGHTS),
        (_, true, _) => files.push(INDEX),
        (_, _, true) => {}
        // The first module of a sentence embedder, such as `0_Transformer`, holds its stack; that is among `files`.
        _ if files.iter().any(|file| file.starts_with("0_") && file.ends_with(WEIGHTS)) => {}
        (false, false, false) => {
            let ends = [".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"];
            let other = there.iter().find(|file| ends.iter().any(|end| file.ends_with(end)));
            return Err(match other {
                Some(other) => format!(
                    "its weights are in {other}, not in safetensors, and such files can run code when they are read: convert \
                     it with `save_pretrained(…, safe_serialization=True)`"
                ),
                None => format!("it has no weights: expected {WEIGHTS} or {INDEX}"),
            });
        }
    }
    Ok((files.into_iter().map(str::to_owned).collect(), has_shards))
}

/// Whether a file belongs to a module of `sentence-transformers`, such as `1_Pooling/config.json` or
/// `0_Transformer/tokenizer.json`.
fn of_module(file: &str) -> bool {
    let Some((module, file)) = file.split_once('/') else { return false };
    let is_module = module.split_once('_').is_some_and(|(number, name)| {
        number.chars().all(|c| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric())
    });
    is_module && (file == WEIGHTS || FILES.contains(&file))
}

/// The files that an index names: files of the model's own folder that are there.
fn shards(index: &Path, there: &[&str]) -> Result<Vec<String>, String> {
    let text =
        fs::read_to_string(index).map_err(|error| format!("cannot read {}: {error}", index.display()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("{INDEX}: {error}"))?;
    let map = json["weight_map"].as_object().ok_or_else(|| format!("{INDEX}: expected a weight_map"))?;
    let mut names: Vec<String> = map.values().filter_map(Value::as_str).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    let wrong = |name: &&String| {
        let mut parts = Path::new(name.as_str()).components();
        let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        !is_plain || !name.ends_with(".safetensors") || !there.contains(&name.as_str())
    };
    match names.iter().find(wrong) {
        Some(name) => Err(format!("{INDEX} names {name:?}, which is no safetensors file of the model")),
        None => Ok(names),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A server of the model `org/tiny` with these files, and its address. A file of no content is not given to anyone.
    fn server(files: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(&stream.unwrap(), files)));
        address
    }

    fn answer(mut stream: &TcpStream, files: &[(&str, &str)]) {
        let lines: Vec<String> =
            BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let path = lines[0].split(' ').nth(1).unwrap();
        let (mut status, mut headers, mut body) = ("404 Not Found", String::new(), String::new());
        if path.starts_with("/api/models/org/tiny/") && path.ends_with("/main") {
            let siblings: Vec<Value> =
                files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
            body = serde_json::json!({ "siblings": siblings, "sha": COMMIT }).to_string();
            status = "200 OK";
        } else if let Some((name, content)) =
            files.iter().find(|(name, _)| path == format!("/org/tiny/resolve/{COMMIT}/{name}"))
        {
            let range = lines
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let range = range.unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let start: usize = start.parse().unwrap();
            let end = if end.is_empty() { content.len() } else { end.parse::<usize>().unwrap() + 1 };
            if content.is_empty() {
                status = "403 Forbidden";
            } else {
                status = "206 Partial Content";
                headers = format!(
                    "etag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\ncontent-range: bytes {start}-{}/{}\r\n",
                    name.replace(['/', '.'], "-"),
                    end - 1,
                    content.len()
                );
                body = content[start..end].to_owned();
            }
        }
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    }

    fn pulled(cache: &Path, name: &str, endpoint: &str, offline: bool) -> Result<PathBuf, String> {
        let cache = Cache::new(cache.to_owned());
        let builder =
            ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint.to_owned()).with_progress(false);
        let puller = Puller { name, revision: "main", cache };
        puller.pull(builder, offline).map_err(|error| error.to_string())
    }

    const TINY: [(&str, &str); 10] = [
        ("config.json", "{}"),
        (
            "model.safetensors.index.json",
            r#"{"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}"#,
        ),
        ("model-1.safetensors", "first"),
        ("model-2.safetensors", "second"),
        ("1_Pooling/config.json", "{ }"),
        ("spm.model", "pieces"),
        ("chat_template.jinja", "{{ messages }}"),
        ("pytorch_model.bin", "code"),
        ("README.md", "read"),
        ("onnx/model.onnx", "other"),
    ];

    #[test]
    fn what_is_read_here_is_fetched_and_a_broken_fetch_goes_on() {
        let cache = tempfile::tempdir().unwrap();
        let endpoint = server(&TINY);
        // What a fetch that was cut off has left.
        let blobs = cache.path().join("models--org--tiny/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join("model-2-safetensors.part"), "sec").unwrap();
        let folder = pulled(cache.path(), "org/tiny", &endpoint, false).unwrap();
        for (file, content) in TINY {
            let is_read = !["pytorch_model.bin", "README.md", "onnx/model.onnx"].contains(&file);
            let found = fs::read_to_string(folder.join(file)).ok();
            assert_eq!(found.as_deref(), is_read.then_some(content), "{file}");
        }
        // The second time nothing is asked for but what there is; without a network the folder is there.
        assert_eq!(pulled(cache.path(), "org/tiny", &endpoint, false), Ok(folder.clone()));
        assert_eq!(pulled(cache.path(), "org/tiny", "http://127.0.0.1:1", true), Ok(folder));
        let error = pulled(cache.path(), "org/tiny", "http://127.0.0.1:1", false).unwrap_err();
        assert!(error.contains("HF_ENDPOINT") && error.contains("--offline"), "{error}");
    }

    #[test]
    fn what_cannot_be_fetched_is_said() {
        let cache = tempfile::tempdir().unwrap();
        let pickles: &[_] = &[("config.json", "{}"), ("pytorch_model.bin", "code")];
        let gated: &[_] = &[("config.json", ""), ("model.safetensors", "x")];
        let cases = [
            (server(pickles), "org/tiny", "pytorch_model.bin, not in safetensors"),
            (server(gated), "org/tiny", "agreed to the model's terms"),
            (server(&TINY), "org/other", "there is no such model"),
            (server(&TINY), "../tiny", "expected the name of a model"),
            (server(&TINY), "a/b/c", "expected the name of a model"),
            ("http://127.0.0.1:1".to_owned(), "org/tiny", "copy the model's folder from elsewhere"),
        ];
        for (endpoint, name, says) in cases {
            let error = pulled(cache.path(), name, &endpoint, false).unwrap_err();
            assert!(error.contains(says), "{says} in {error}");
        }
        let error = pulled(cache.path(), "org/tiny", "http://127.0.0.1:1", true).unwrap_err();
        assert!(error.contains("not in the cache"), "{error}");
    }

    #[test]
    fn a_stack_in_a_folder_of_its_own() {
        let read = [
            "modules.json",
            "0_Transformer/config.json",
            "0_Transformer/model.safetensors",
            "0_Transformer/sentence_roberta_config.json",
            "0_Transformer/vocab.txt",
            "1_Pooling/config.json",
        ];
        let there =
            [&read[..], &["0_Transformer/pytorch_model.bin", "0_x/y/config.json", "onnx/config.json"]];
        assert_eq!(wanted(&there.concat()).unwrap(), (read.map(str::to_owned).to_vec(), false));
        // Weights of a dense layer are not those of the stack.
        let error = wanted(&["config.json", "pytorch_model.bin", "2_Dense/model.safetensors"]).unwrap_err();
        assert!(error.contains("pytorch_model.bin"), "{error}");
    }

    #[test]
    fn an_index_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join(INDEX);
        for name in ["../x.safetensors", "/x.safetensors", "x.bin", "missing.safetensors"] {
            fs::write(&index, serde_json::json!({ "weight_map": { "a": name } }).to_string()).unwrap();
            let error = shards(&index, &["../x.safetensors", "/x.safetensors", "x.bin"]).unwrap_err();
            assert!(error.contains(name), "{name} in {error}");
        }
    }
}
