//! The page where a person types the code: what stands for the provider's website in the demo.

/// The page with its form.
pub(crate) fn form(user: &str, user_code: &str) -> String {
    let (user, user_code) = (escape(user), escape(user_code));
    let what_to_do = match user_code.as_str() {
        "" => "Type the code that it shows.",
        _ => "Go on only if it shows the code below.",
    };
    layout(
        "Sign in on a device",
        &format!(
            r#"<p>A program asks to sign in as <strong>{user}</strong>. {what_to_do}</p>
<form method="post">
<label for="user_code">Code</label>
<input id="user_code" name="user_code" value="{user_code}" placeholder="ABCD-EFGH" autocomplete="off" autocapitalize="characters" spellcheck="false" required autofocus>
<div class="buttons">
<button name="action" value="approve">Approve</button>
<button name="action" value="deny" class="second">Deny</button>
</div>
</form>"#
        ),
    )
}

/// What was done, or why not.
pub(crate) fn message(title: &str, text: &str, again: bool) -> String {
    let again = if again { r#"<p><a href="?">Enter another code</a></p>"# } else { "" };
    layout(title, &format!("<p role=\"status\">{}</p>\n{again}", escape(text)))
}

/// What a browser posts to the redirect address as soon as a person agrees (OAuth 2.0 Form Post Response Mode). It does by
/// itself, by a script, where scripts run.
pub(crate) fn posted(redirect: &str, fields: &[(String, String)]) -> String {
    let field = |(name, value): &(String, String)| {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
    };
    let fields: String = fields.iter().map(field).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Going back</title>\
         <body onload=\"document.forms[0].submit()\"><form method=\"post\" action=\"{}\">{fields}<button>Go back</button></form>\n",
        escape(redirect)
    )
}

fn layout(title: &str, content: &str) -> String {
    let title = escape(title);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1.125rem/1.5 system-ui, sans-serif; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: light-dark(#f3f4f6, #15181d); color: light-dark(#1b1f24, #e8eaed); }}
main {{ box-sizing: border-box; width: min(100%, 27rem); padding: 2rem; border-radius: .75rem; background: light-dark(#fff, #20242b); }}
h1 {{ margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25; }}
label {{ display: block; font-weight: 600; }}
input {{ box-sizing: border-box; width: 100%; margin: .25rem 0 1rem; padding: .6rem .75rem; font: 1.5rem ui-monospace, monospace; letter-spacing: .1em; text-transform: uppercase; border: 1px solid #767b84; border-radius: .4rem; background: transparent; color: inherit; }}
.buttons {{ display: flex; gap: .75rem; }}
button {{ flex: 1; padding: .7rem; font: inherit; font-weight: 600; border: 2px solid #1a56c4; border-radius: .4rem; background: #1a56c4; color: #fff; cursor: pointer; }}
button.second {{ background: transparent; color: inherit; border-color: #767b84; }}
a {{ color: light-dark(#1a56c4, #8ab4f8); }}
:focus-visible {{ outline: 3px solid #e8a33d; outline-offset: 2px; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"#
    )
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, char| {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_becomes_markup() {
        let page = form("<b>eve</b>", "\"><script>alert('1')</script>");
        assert!(page.contains("&lt;b&gt;eve"));
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)"));
        assert!(!page.contains("<script"));
    }
}
