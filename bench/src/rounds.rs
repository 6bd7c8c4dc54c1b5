//! The rounds of a measurement: ABBA order, warm-up, and which rounds count.
//!
//! All subjects of a comparison are visited in every round, forwards and then backwards, so that
//! drift of the machine hits them alike. A round in which somebody else needed the CPU is thrown
//! away. What a visit measures is the caller's business.

use anyhow::Result;

use crate::pressure::Reading;
use crate::stats::median;

/// How much a round may wait for a CPU beyond the quietest one, as a share of its time.
const SLACK: f64 = 0.10;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// How a round visits the subjects.
    pub(crate) visits: Visits,
}

/// How a round visits the subjects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Visits {
    /// So many times all of them, forwards and backwards.
    Sweeps(usize),
    /// Each once, forwards in one round and backwards in the next: for what takes long.
    Once,
}

impl Visits {
    /// The order of the visits of a round.
    fn order(self, round: usize, subjects: usize) -> Vec<usize> {
        let forwards = 0..subjects;
        match self {
            Visits::Sweeps(count) => (0..count).flat_map(|_| abba(subjects)).collect(),
            Visits::Once if round.is_multiple_of(2) => forwards.collect(),
            Visits::Once => forwards.rev().collect(),
        }
    }
}

/// What one visit of a subject measured, one number a metric.
pub(crate) type Visit = Vec<f64>;

/// A round: the visits of each subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    visits: Vec<Vec<Visit>>,
}

impl Round {
    /// The median over the round's visits of a subject.
    pub(crate) fn value(&self, subject: usize, metric: usize) -> f64 {
        median(&self.samples(subject, metric))
    }

    fn samples(&self, subject: usize, metric: usize) -> Vec<f64> {
        self.visits[subject]
            .iter()
            .map(|visit| visit[metric])
            .collect()
    }
}

/// The rounds that count.
#[derive(Debug, Default)]
pub(crate) struct Series {
    rounds: Vec<Round>,
    /// How many rounds were thrown away.
    pub(crate) thrown: usize,
    /// Too few rounds were quiet: the least noisy ones were taken.
    pub(crate) noisy: bool,
}

impl Series {
    /// A number of each round, such as the value of a subject or the sum of two.
    pub(crate) fn each(&self, number: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(number).collect()
    }

    /// The value of a subject in each round.
    pub(crate) fn values(&self, subject: usize, metric: usize) -> Vec<f64> {
        self.each(|round| round.value(subject, metric))
    }

    /// Every visit of a subject, of all rounds.
    pub(crate) fn samples(&self, subject: usize, metric: usize) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .flat_map(|round| round.samples(subject, metric))
            .collect()
    }
}

/// Measures `subjects` things that `visit` knows by number.
pub(crate) fn run(
    plan: Plan,
    subjects: usize,
    mut visit: impl FnMut(usize) -> Result<Visit>,
) -> Result<Series> {
    for subject in 0..subjects {
        visit(subject)?;
    }
    let (mut rounds, mut shares) = (Vec::new(), Vec::new());
    while quiet(&shares).len() < plan.rounds && rounds.len() < plan.rounds + plan.rounds.div_ceil(2)
    {
        let reading = Reading::now();
        let order = plan.visits.order(rounds.len(), subjects);
        rounds.push(one(&order, subjects, &mut visit)?);
        shares.push(reading.share_until_now());
    }
    Ok(select(rounds, &shares, plan.rounds))
}

fn one(
    order: &[usize],
    subjects: usize,
    visit: &mut impl FnMut(usize) -> Result<Visit>,
) -> Result<Round> {
    let mut round = Round {
        visits: vec![Vec::new(); subjects],
    };
    for subject in order {
        round.visits[*subject].push(visit(*subject)?);
    }
    Ok(round)
}

/// Every subject once forwards, once backwards.
fn abba(subjects: usize) -> impl Iterator<Item = usize> {
    (0..subjects).chain((0..subjects).rev())
}

/// The rounds that hardly waited longer than the quietest; all of them where nothing is known.
fn quiet(shares: &[Option<f64>]) -> Vec<usize> {
    let least = shares
        .iter()
        .flatten()
        .copied()
        .fold(f64::INFINITY, f64::min);
    let is_quiet = |share: Option<f64>| share.is_none_or(|share| share <= least + SLACK);
    (0..shares.len()).filter(|i| is_quiet(shares[*i])).collect()
}

fn select(rounds: Vec<Round>, shares: &[Option<f64>], want: usize) -> Series {
    let mut chosen = quiet(shares);
    let noisy = chosen.len() < want;
    if noisy {
        chosen = least_noisy(shares, want);
    }
    let thrown = rounds.len() - chosen.len();
    let kept = rounds.into_iter().enumerate();
    let kept = kept
        .filter(|(i, _)| chosen.contains(i))
        .map(|(_, round)| round);
    Series {
        rounds: kept.collect(),
        thrown,
        noisy,
    }
}

fn least_noisy(shares: &[Option<f64>], want: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let share = |i: usize| shares[i].unwrap_or(0.0);
    order.sort_by(|a, b| share(*a).total_cmp(&share(*b)));
    order.truncate(want);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_abba() {
        let mut order = Vec::new();
        let plan = Plan {
            rounds: 2,
            visits: Visits::Sweeps(1),
        };
        let series = run(plan, 3, |subject| {
            order.push(subject);
            Ok(vec![1.0])
        });
        assert_eq!(order[..3], [0, 1, 2], "the warm-up");
        assert_eq!(order[3..9], [0, 1, 2, 2, 1, 0], "the first round");
        assert!(series.is_ok());
    }

    #[test]
    fn long_visits_go_forwards_and_backwards_by_turns() {
        assert_eq!(Visits::Once.order(0, 3), [0, 1, 2]);
        assert_eq!(Visits::Once.order(1, 3), [2, 1, 0]);
    }

    #[test]
    fn a_rounds_value_is_the_median_of_its_visits() {
        let mut n = 0.0;
        let plan = Plan {
            rounds: 1,
            visits: Visits::Sweeps(2),
        };
        let series = run(plan, 1, |_| {
            n += 1.0;
            Ok(vec![n, -n])
        })
        .expect("nothing fails");
        // One visit to warm up, then four: 2, 3, 4, 5.
        assert_eq!(series.values(0, 0), [3.5]);
        assert_eq!(series.samples(0, 1), [-2.0, -3.0, -4.0, -5.0]);
    }

    #[test]
    fn an_error_ends_the_measurement() {
        let plan = Plan {
            rounds: 3,
            visits: Visits::Sweeps(1),
        };
        assert!(run(plan, 2, |_| anyhow::bail!("broken")).is_err());
    }

    #[test]
    fn rounds_with_pressure_from_elsewhere_are_thrown_away() {
        let shares = [Some(0.30), Some(0.32), Some(0.70), Some(0.39)];
        assert_eq!(quiet(&shares), [0, 1, 3]);
        let series = select(vec![Round::default(); 4], &shares, 3);
        assert_eq!((series.rounds.len(), series.thrown), (3, 1));
        assert!(!series.noisy);
    }

    #[test]
    fn with_too_few_quiet_rounds_the_least_noisy_count_and_it_is_said() {
        let shares = [Some(0.9), Some(0.1), Some(0.5), Some(0.8)];
        let series = select(vec![Round::default(); 4], &shares, 2);
        assert_eq!((series.rounds.len(), series.thrown), (2, 2));
        assert!(series.noisy);
    }

    #[test]
    fn where_pressure_is_unknown_every_round_counts() {
        assert_eq!(quiet(&[None, None]), [0, 1]);
    }
}
