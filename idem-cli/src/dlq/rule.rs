//! `idem dlq rule`: the rules by which the services of a ledger redrive letters.

use serde_json::json;

use crate::args::{Rule, RuleAction, SetRule};
use crate::format::line;
use crate::out::Out;
use crate::problem::Problem;
use crate::prompt;
use crate::target::Target;
use idem_ops::service::{self, RedriveRule};

pub(super) async fn run(what: Rule, target: &Target, out: Out) -> Result<(), Problem> {
    match what {
        Rule::List => list(target, out).await,
        Rule::Set(asked) => set(asked, target, out).await,
        Rule::Remove { name, reason } => {
            if !RedriveRule::is_name(&name) {
                return Err(Problem::usage(format!(
                    "{} is not a rule's name: `idem dlq rule list`",
                    line(&name)
                )));
            }
            let why = prompt::why(reason, "is it removed")?;
            let removed = target.remove_rule(&name, &why).await?;
            out.answer(&removed, |_| format!("rule {name} is removed"))
        }
    }
}

async fn set(asked: SetRule, target: &Target, out: Out) -> Result<(), Problem> {
    let SetRule {
        name,
        handler,
        error,
        max_age,
        action,
        every,
        times,
        until,
        at_most,
        reason,
    } = asked;
    let action = match action {
        RuleAction::Run => "run",
        RuleAction::Publish => "publish",
        RuleAction::Rearm => "rearm",
    };
    let rule = json!({
        "name": name, "handler": handler, "error": error, "max_age": max_age, "action": action, "every": every,
        "times": times, "until": until, "at_most": at_most,
    });
    let rule: RedriveRule = serde_json::from_value(rule).map_err(|problem| {
        Problem::usage(format!("the rule is wrong: {}", line(&problem.to_string())))
    })?;
    rule.check()
        .map_err(|problem| Problem::usage(line(&problem.to_string())))?;
    let why = prompt::why(reason, "is it set")?;
    let set = target.set_rule(&rule, &why).await?;
    out.answer(&set, |_| {
        let of_a_service = if target.runs() {
            ""
        } else {
            "; services on this ledger follow it, and this command does not"
        };
        format!("rule {} is set{of_a_service}", line(&set.rule.name))
    })
}

async fn list(target: &Target, out: Out) -> Result<(), Problem> {
    let rules = target.rules().await?;
    out.answer(&rules, |out| table(&rules, out))
}

fn table(rules: &[service::SetRule], out: Out) -> String {
    if rules.is_empty() {
        return "no redrive rules".to_owned();
    }
    let mut table = out.table([
        ("Rule", false),
        ("Handler", false),
        ("Error", false),
        ("Every", true),
        ("Times", true),
        ("Until", false),
        ("In its hour", true),
        ("Set by", false),
    ]);
    let all = |text: &Option<String>| text.as_deref().map_or_else(|| "any".to_owned(), line);
    for service::SetRule {
        rule,
        who,
        redriven,
        ..
    } in rules
    {
        table.add_row(vec![
            line(&rule.name),
            all(&rule.handler),
            all(&rule.error),
            format!("{}s", rule.every.as_secs()),
            rule.times.to_string(),
            rule.until
                .map(|until| format!("{until:.0}"))
                .unwrap_or_default(),
            format!("{redriven} of {}", rule.at_most),
            who.as_deref()
                .map_or_else(|| "the configuration".to_owned(), line),
        ]);
    }
    table.to_string()
}
