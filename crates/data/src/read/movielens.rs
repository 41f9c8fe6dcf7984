//! A folder of MovieLens (Harper and Konstan 2015, doi:10.1145/2827872): ratings of films as rankings.
//!
//! In the order of time, each of the last [`PER_USER`] likes of a user is a ranking: what the user liked before is the query,
//! and the film is to be found among [`N_NEGATIVES`] that the user never rated, drawn from those that someone had rated by
//! then, in a random order. All draws are a function of user and film. Sampled candidates follow He et al. 2017
//! (arXiv:1708.05031, §4.1).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::source::Source;
use crate::error::Problems;
use crate::random::{Draws, derive};
use crate::{Candidate, DataError, Examples, Ranking};

/// The files of the folder.
pub(crate) const FILES: [&str; 2] = ["ratings.csv", "movies.csv"];

/// From which rating on a film is liked.
const LIKED: f64 = 4.0;
/// How many of the films liked before stand in a query.
const HISTORY: usize = 5;
/// How many likes of a user become rankings: the last ones.
const PER_USER: usize = 20;
/// How many films stand beside the right one.
const N_NEGATIVES: usize = 99;
/// After so many draws there are fewer.
const MAX_DRAWS: usize = 100 * N_NEGATIVES;
/// A film's mean rating begins with so many ratings of the overall mean.
const PRIOR: f64 = 5.0;
/// In seconds.
const YEAR: i64 = 365 * 24 * 3600;
const SEED: u64 = 0;

/// Reads the folder.
pub(super) fn read(folder: &Path, encoding: Option<&str>) -> Result<Examples, DataError> {
    let films = films(&Source::open_as(&folder.join(FILES[1]), encoding)?)?;
    let ratings = ratings(&Source::open_as(&folder.join(FILES[0]), encoding)?, &films)?;
    Ok(Examples::Ranked(rankings(&films, &ratings)))
}

struct Film {
    title: String,
    genres: Vec<String>,
    /// That in brackets at the end of the title.
    year: Option<f64>,
}

impl Film {
    fn new(title: &str, genres: &str) -> Self {
        let genres = genres.split('|').filter(|genre| !genre.is_empty() && !genre.starts_with('('));
        Self { title: title.to_owned(), genres: genres.map(str::to_owned).collect(), year: year(title) }
    }

    fn text(&self) -> String {
        if self.genres.is_empty() {
            self.title.clone()
        } else {
            format!("{}. {}", self.title, self.genres.join(", "))
        }
    }
}

struct Rating {
    user: u32,
    film: u32,
    value: f64,
    time: i64,
    line: usize,
}

fn year(title: &str) -> Option<f64> {
    let (_, digits) = title.trim().strip_suffix(')')?.rsplit_once('(')?;
    let is_year = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_year)
}

fn films(source: &Source) -> Result<HashMap<u32, Film>, DataError> {
    let mut films: HashMap<u32, Film> = HashMap::new();
    table(source, ["movieId", "title", "genres"], |[id, title, genres], _| {
        match films.insert(number(id, "movieId")?, Film::new(title, genres)) {
            Some(_) => Err(format!("film {id} is there twice")),
            None => Ok(()),
        }
    })?;
    Ok(films)
}

/// In the order of time.
fn ratings(source: &Source, films: &HashMap<u32, Film>) -> Result<Vec<Rating>, DataError> {
    let mut ratings = Vec::new();
    table(source, ["userId", "movieId", "rating", "timestamp"], |[user, film, value, time], line| {
        let (user, film): (u32, u32) = (number(user, "userId")?, number(film, "movieId")?);
        let value: f64 = number(value, "rating")?;
        if !value.is_finite() {
            return Err(format!("expected a finite rating, found {value}"));
        }
        if !films.contains_key(&film) {
            return Err(format!("film {film} is not in {}", FILES[1]));
        }
        ratings.push(Rating { user, film, value, time: number(time, "timestamp")?, line });
        Ok(())
    })?;
    ratings.sort_by_key(|rating| (rating.time, rating.user, rating.film));
    Ok(ratings)
}

fn number<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a number in {name}, found `{text}`"))
}

/// Each row's cells under these names.
fn table<const N: usize>(
    source: &Source,
    names: [&str; N],
    mut row: impl FnMut([&str; N], usize) -> Result<(), String>,
) -> Result<(), DataError> {
    let wrong = |message: String| DataError::Format { path: source.path.clone(), message };
    let mut table = csv::Reader::from_reader(source.text.as_bytes());
    let header = table.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let places = names.map(|name| header.iter().position(|found| found == name));
    if places.contains(&None) {
        let found: Vec<&str> = header.iter().collect();
        return Err(wrong(format!("expected the columns {}, found {}", names.join(", "), found.join(", "))));
    }
    let places = places.map(Option::unwrap_or_default);
    let mut problems = Problems::new(&source.path);
    for record in table.records() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        if let Err(message) = row(places.map(|at| record.get(at).unwrap_or_default().trim()), line) {
            problems.at(line, message);
        }
    }
    problems.finish(())
}

/// What is known of the films by a time.
#[derive(Default)]
struct Known {
    /// Every film that someone rated, in the order of first ratings.
    films: Vec<u32>,
    /// Likes, ratings and their sum.
    counts: HashMap<u32, [f64; 3]>,
    /// Ratings and their sum over all films.
    all: [f64; 2],
    /// What each user liked.
    liked: HashMap<u32, Vec<u32>>,
    /// When each film was liked.
    liked_at: HashMap<u32, Vec<i64>>,
}

impl Known {
    fn add(&mut self, rating: &Rating) {
        let liked = rating.value >= LIKED;
        if !self.counts.contains_key(&rating.film) {
            self.films.push(rating.film);
        }
        let [likes, n, sum] = self.counts.entry(rating.film).or_default();
        *likes += f64::from(u8::from(liked));
        *n += 1.0;
        *sum += rating.value;
        self.all[0] += 1.0;
        self.all[1] += rating.value;
        if liked {
            self.liked.entry(rating.user).or_default().push(rating.film);
            self.liked_at.entry(rating.film).or_default().push(rating.time);
        }
    }

    /// The logarithm of 1 plus the likes, the mean rating, and the logarithm of 1 plus the likes of the year before.
    fn features(&self, film: u32, time: i64) -> [f64; 3] {
        let [likes, n, sum] = self.counts.get(&film).copied().unwrap_or_default();
        let mean = self.all[1] / self.all[0].max(1.0);
        let liked_at = self.liked_at.get(&film).map(Vec::as_slice).unwrap_or_default();
        let recent = liked_at.len() - liked_at.partition_point(|&at| at < time - YEAR);
        [likes.ln_1p(), (sum + PRIOR * mean) / (n + PRIOR), (recent as f64).ln_1p()]
    }

    /// A film among others that the user never rated, in a random order.
    fn candidates(&self, rating: &Rating, rated: &HashSet<u32>) -> Vec<u32> {
        let name = (u64::from(rating.user) << 32) | u64::from(rating.film);
        let mut draws = Draws::new(derive(SEED, name));
        let mut candidates = vec![rating.film];
        for _ in 0..MAX_DRAWS {
            if candidates.len() > N_NEGATIVES || self.films.is_empty() {
                break;
            }
            let film = self.films[draws.below(self.films.len())];
            if !rated.contains(&film) && !candidates.contains(&film) {
                candidates.push(film);
            }
        }
        draws.shuffle(&mut candidates);
        candidates
    }
}

fn rankings(films: &HashMap<u32, Film>, ratings: &[Rating]) -> Vec<Ranking> {
    let (mut rated, mut left) = (HashMap::<u32, HashSet<u32>>::new(), HashMap::<u32, usize>::new());
    for rating in ratings {
        rated.entry(rating.user).or_default().insert(rating.film);
        *left.entry(rating.user).or_default() += usize::from(rating.value >= LIKED);
    }
    let (mut known, mut rankings) = (Known::default(), Vec::new());
    for rating in ratings {
        if rating.value >= LIKED
            && let Some(left) = left.get_mut(&rating.user)
        {
            *left -= 1;
            let history = known.liked.get(&rating.user).map(Vec::as_slice).unwrap_or_default();
            if *left >= PER_USER || history.is_empty() {
                known.add(rating);
                continue;
            }
            let candidates = known.candidates(rating, &rated[&rating.user]);
            if candidates.len() > 1 {
                let history = &history[history.len().saturating_sub(HISTORY)..];
                let candidate = |film: u32| Candidate {
                    text: films[&film].text(),
                    gain: f64::from(u8::from(film == rating.film)),
                    features: [&known.features(film, rating.time)[..], &[distance(films, film, history)]]
                        .concat(),
                };
                rankings.push(Ranking {
                    id: format!("{}-{}", rating.user, rating.film),
                    query: query(films, history),
                    candidates: candidates.into_iter().map(candidate).collect(),
                    time: Some(rating.time),
                    line: rating.line,
                });
            }
        }
        known.add(rating);
    }
    rankings
}

/// How many years lie between a film and what was liked before; 0 where that is not known.
fn distance(films: &HashMap<u32, Film>, film: u32, history: &[u32]) -> f64 {
    let years: Vec<f64> = history.iter().filter_map(|film| films[film].year).collect();
    match films[&film].year {
        Some(year) if !years.is_empty() => (year - years.iter().sum::<f64>() / years.len() as f64).abs(),
        _ => 0.0,
    }
}

/// The genres of the films, the most frequent first, then their titles.
fn query(films: &HashMap<u32, Film>, history: &[u32]) -> String {
    let mut genres: Vec<(&str, usize)> = Vec::new();
    for genre in history.iter().flat_map(|film| &films[film].genres) {
        match genres.iter_mut().find(|(known, _)| known == genre) {
            Some((_, n)) => *n += 1,
            None => genres.push((genre, 1)),
        }
    }
    genres.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let genres: Vec<&str> = genres.into_iter().map(|(genre, _)| genre).collect();
    let titles: Vec<&str> = history.iter().map(|film| films[film].title.as_str()).collect();
    if genres.is_empty() {
        titles.join("; ")
    } else {
        format!("{}: {}", genres.join(", "), titles.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use crate::split::{Part, Shares, split};
    use crate::{Examples, ReadOptions, read};

    fn folder(ratings: &str, films: &str) -> Result<Examples, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, text) in [("ratings.csv", ratings), ("movies.csv", films)] {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        read(dir.path(), &ReadOptions::default())
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    const FILMS: &str = "movieId,title,genres\n1,One (1995),Drama|War\n2,\"Two, The (1996)\",Drama\n\
                         3,Three,(no genres listed)\n5,Five,Comedy\n";

    #[test]
    fn a_like_is_found_among_what_the_user_never_rated() {
        let ratings =
            "userId,movieId,rating,timestamp\n7,1,4.0,10\n7,2,4.5,30\n8,3,2.0,11\n8,5,5.0,12\n7,3,1.0,40\n";
        let Ok(Examples::Ranked(list)) = folder(ratings, FILMS) else { panic!("rankings") };
        // The first like of a user has nothing before it.
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].query.as_str(), list[0].time), ("Drama, War: One (1995)", Some(30)));
        let mut found: Vec<_> = list[0].candidates.iter().map(|c| (c.text.as_str(), c.gain)).collect();
        found.sort_by(|a, b| a.0.cmp(b.0));
        // The user rates film 3 later, so it is no negative.
        assert_eq!(found, [("Five. Comedy", 0.0), ("Two, The (1996). Drama", 1.0)]);
        let five = list[0].candidates.iter().find(|c| c.gain == 0.0).expect("film 5");
        // Ratings so far: 4, 2, 5.
        let mean = 11.0 / 3.0;
        assert!((five.features[0] - 2.0_f64.ln()).abs() < 1e-12, "{:?}", five.features);
        assert!((five.features[1] - (5.0 + 5.0 * mean) / 6.0).abs() < 1e-12, "{:?}", five.features);
        // It was liked in the year before, and has no year of its own.
        assert_eq!(five.features[2..], [five.features[0], 0.0]);
        let two = list[0].candidates.iter().find(|c| c.gain > 0.0).expect("film 2");
        assert_eq!(two.features[3], 1.0);
    }

    #[test]
    fn parts_are_cut_by_time() {
        let mut ratings = "userId,movieId,rating,timestamp\n9,5,1.0,0\n".to_owned();
        for user in 20..30 {
            ratings += &format!("{user},1,5.0,{}\n{user},2,5.0,{}\n", 100 - user, 200 - user);
        }
        let examples = folder(&ratings, FILMS).expect("rankings");
        let parts = split(&examples, Shares::default()).expect("splits");
        let times = |part| match &parts[&part] {
            Examples::Ranked(list) => list.iter().filter_map(|ranking| ranking.time).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        assert_eq!((times(Part::Dev), times(Part::Test)), (vec![179], vec![180]));
        assert_eq!(times(Part::Train), [171, 172, 173, 174, 175, 176, 177, 178]);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let error = |ratings: &str| folder(ratings, FILMS).expect_err("wrong");
        let found = error("userId,movieId,rating,timestamp\n7,4,4.0,10\n7,1,good,3\n");
        assert!(found.contains("ratings.csv:2: film 4 is not in movies.csv"), "{found}");
        assert!(found.contains("ratings.csv:3: expected a number in rating, found `good`"), "{found}");
        let found = error("user,movieId,rating,timestamp\n7,1,4.0,10\n");
        assert!(
            found.contains("expected the columns userId, movieId, rating, timestamp, found user"),
            "{found}"
        );
    }
}
