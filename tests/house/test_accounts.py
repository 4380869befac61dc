"""API keys as the setting has them."""

import pytest

from shared.accounts import Account, Accounts, digest_of

KEY, OTHER, THIRD = "k" * 16, "mp_0123456789abcdef", "x" * 40


def test_a_key_is_found_and_nothing_else() -> None:
    accounts = Accounts(f" {KEY}, acme:{OTHER} ,ops:{THIRD}:operator,")
    assert len(accounts) == 3
    assert accounts.find(digest_of(KEY).hex()) == Account("default")
    assert accounts.find(digest_of(OTHER).hex()) == Account("acme")
    assert accounts.find(digest_of(THIRD).hex()) == Account("ops", operator=True)
    for wrong in ("", KEY[:-1], f"{KEY}k", KEY.upper(), f"acme:{OTHER}", "ü" * 16, "\udc80"):
        assert accounts.find(digest_of(wrong).hex()) is None


def test_no_key_is_kept() -> None:
    assert KEY not in repr(vars(Accounts(KEY)))


def test_a_list_of_nothing_lets_nobody_in() -> None:
    assert len(Accounts("")) == 0
    with pytest.raises(ValueError, match="no key"):
        Accounts(" , ")


@pytest.mark.parametrize(
    "text",
    [
        "short",
        f"acme:{KEY}:admin",
        f":{KEY}",
        f"a b:{KEY}",
        f"{'a' * 65}:{KEY}",
        f"a:{KEY}:operator:x",
        f"{KEY} {KEY}",
        f"{KEY},b:{KEY}",
        "schlüssel" * 3,
    ],
)
def test_a_wrong_entry_is_named_by_its_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry \d") as refused:
        Accounts(f"first:{OTHER},{text}")
    assert KEY not in str(refused.value)
