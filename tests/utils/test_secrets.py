"""No secret of the environment, and no credentials of a URL, are left in what is written down."""

import pytest

from greencv_core.utils.secrets import command_without_secrets, is_secret_name, without_secrets

PRIVATE = """-----BEGIN KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQ
9l3ZqLMbUMQ4Nn5NxYzNSoR5Vw
-----END KEY-----"""


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "APIKEY",
        "PGPASSWORD", "DB_PASSWD", "MYSQL_PWD", "KEY_PASSPHRASE", "PROXY_AUTH", "api_key",
        "WANDB_API_KEY", "CI_JOB_TOKEN_2", "SMTP_PASS", "AZURE_CREDENTIALS", "MY_SECRETS_JSON",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret_name(name)
    assert without_secrets("it said: hunter2-xyz!", {name: "hunter2-xyz"}) == f"it said: [${name}]!"


@pytest.mark.parametrize(
    "name",
    ["PWD", "OLDPWD", "HOME", "GIT_AUTHOR_NAME", "XAUTHORITY", "TOKENIZERS_PARALLELISM",
     "KEYBOARD", "GREENCV_STORE", "PATH", "COMPASS", "LC_MONETARY"],
)  # fmt: skip
def test_names_of_no_secrets(name):
    assert not is_secret_name(name)
    assert without_secrets("/home/somebody", {name: "/home/somebody"}) == "/home/somebody"


def test_short_values_and_places_stay(tmp_path):
    key = tmp_path / "key.pem"
    key.touch()
    environment = {"A_TOKEN": "on", "B_KEY": str(key), "SSH_AUTH_SOCK": str(tmp_path), "C_KEY": ""}
    text = f"on {key} in {tmp_path}"
    assert without_secrets(text, environment) == text


def test_every_form_of_a_secret_goes():
    environment = {"DB_PASSWORD": "p@ss w/ö'rd%"}
    for form in ("p@ss w/ö'rd%", "p%40ss%20w%2F%C3%B6%27rd%25", "p%40ss+w%2F%C3%B6%27rd%25"):
        assert without_secrets(f"-{form}-", environment) == "-[$DB_PASSWORD]-", form
    for line in PRIVATE.splitlines()[1:3]:
        assert line not in without_secrets(f"bad key {line}", {"SSH_KEY": PRIVATE})
    flat = " ".join(PRIVATE.split())
    assert without_secrets(f"bad key {flat}", {"SSH_KEY": PRIVATE}) == "bad key [$SSH_KEY]"


def test_a_secret_within_another_leaves_no_rest():
    environment = {"A_TOKEN": "secret", "B_TOKEN": "secret-and-more"}
    assert without_secrets("x secret-and-more secret", environment) == "x [$B_TOKEN] [$A_TOKEN]"


def test_the_password_of_a_proxy_goes_wherever_it_is():
    environment = {"https_proxy": "http://me:s3cr3t-pw@proxy:3128"}
    text = without_secrets("407: s3cr3t-pw, http://me:s3cr3t-pw@proxy:3128/", environment)
    assert text == "407: [$https_proxy], http://[…]@proxy:3128/"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://user:pw@host/a", "https://[…]@host/a"),
        ("git: https://ghp_abc@github.com/x.git", "git: https://[…]@github.com/x.git"),
        ("s3://KEY:se/cr+et@bucket/runs", "s3://[…]@bucket/runs"),
        ("http://u:p@ss@host/", "http://[…]@host/"),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("http://host/@user/post", "http://host/@user/post"),
        ("mail me@host", "mail me@host"),
        (
            "GET https://b.s3/x?X-Amz-Signature=abc&X-Amz-Credential=AK%2Fus&part=1",
            "GET https://b.s3/x?X-Amz-Signature=[…]&X-Amz-Credential=[…]&part=1",
        ),
        ("https://h/x?token=abc#y", "https://h/x?token=[…]#y"),
        ("https://h/x?sv=2020&sig=a%3D&sp=r", "https://h/x?sv=2020&sig=[…]&sp=r"),
        ("https://h/x?page=2&monkeys=3", "https://h/x?page=2&monkeys=3"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer […]'}"),
        ("no secrets: key = 3, 50 % of tokens", "no secrets: key = 3, 50 % of tokens"),
    ],
)
def test_credentials_in_urls_and_headers(text, redacted):
    assert without_secrets(text, {}) == redacted
    assert without_secrets(redacted, {}) == redacted


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("MADE_UP_TOKEN", "abcdef123456")
    assert without_secrets("abcdef123456") == "[$MADE_UP_TOKEN]"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["://", "?a", "://a:", "&" + "a" * 99, "authorization "])
def test_the_time_does_not_grow_with_the_square_of_a_text(text):
    without_secrets(text * (100_000 // len(text)), {"proxy": text * (100_000 // len(text))})


def test_a_commands_options_show_no_secret():
    command = (
        "env HF_TOKEN=abc123 train --api-key sesame --password=x -- --seed 7 https://me:pw@host"
    )
    assert command_without_secrets(command.split()) == (
        [
            "env",
            "HF_TOKEN=[…]",
            "train",
            "--api-key",
            "[…]",
            "--password=[…]",
            "--",
            "--seed",
            "7",
            "https://[…]@host",
        ]
    )
    # An option without a value hides none of what follows.
    assert command_without_secrets(["--auth", "--seed", "7"]) == ["--auth", "--seed", "7"]
