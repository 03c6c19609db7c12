"""The Chinese pages are in step with their English pages: structure, commands, keys, numbers, links and pictures."""

import re
from pathlib import Path

import pytest
from translated import LINK, Pages, anchors_of, differences

ROOT = Path(__file__).parents[2]
ENGLISH = {page.name: page.name.replace(".zh-CN", "") for page in ROOT.glob("*.zh-CN.md")}
ENGLISH |= {f"docs/zh/{page.name}": f"docs/{page.name}" for page in sorted((ROOT / "docs" / "zh").glob("*.md"))}
PAGES = Pages(ROOT, ENGLISH)

SAMPLE = """# A title

Two seeds of 1,000 updates; see [above](#a-title) and [more](other.md).

| key | effect |
|---|---|
| `lr` | **0.5** at most |
| `alpha` | 3 or 4 |

![a picture](a.png)

```
python main.py --config=iql  # trains for 10 steps
```

## The end

[<img src="b.png" alt="another picture" width="760">](other.md)
"""
TRANSLATION = """# 标题

2 个种子，各更新 1,000 次；见[上文](#标题)和[更多](../other.md)。

| 键 | 作用 |
|---|---|
| `lr` | 不超过 **0.5** |
| `alpha` | 3 或 4 |

![图](../a.png)

```
python main.py --config=iql  # 训练 10 步
```

## 结尾

[<img src="../b.png" alt="另一张图" width="760">](../other.md)
"""


def compare(folder, english=SAMPLE, translation=TRANSLATION):
    (folder / "zh").mkdir()
    (folder / "page.md").write_text(english, encoding="utf-8")
    (folder / "zh" / "page.md").write_text(translation, encoding="utf-8")
    return list(differences(Pages(folder, {"zh/page.md": "page.md"}), "zh/page.md"))


@pytest.mark.parametrize("page", ENGLISH)
def test_a_chinese_page_agrees_with_its_english_page(page):
    found = list(differences(PAGES, page))
    if found:
        message = f"{page} is not in step with {ENGLISH[page]}. Edit:\n\n" + "\n\n".join(found)
        pytest.fail(message, pytrace=False)


@pytest.mark.parametrize("page", ENGLISH)
def test_links_of_a_chinese_page_lead_to_files_and_headings_and_to_chinese_pages(page):
    for number, line in enumerate(PAGES.text(page).splitlines(), 1):
        for _, _, link in LINK.findall(re.sub(r"`[^`]+`", "", line)):
            if "://" in link:
                continue
            file, anchor = PAGES.target(page, link)
            assert (ROOT / file).exists(), f"{page}, line {number}: {link} does not exist"
            assert not anchor or anchor in anchors_of(PAGES.text(file)), f"{page}, line {number}: no heading {link}"
            chinese = {english: name for name, english in ENGLISH.items()}.get(file, page)
            assert chinese == page, f"{page}, line {number}: link to {chinese}, not to the English {file}"


@pytest.mark.parametrize("page", ENGLISH)
def test_the_two_pages_link_each_other_at_the_top(page):
    for one, other in ((page, ENGLISH[page]), (ENGLISH[page], page)):
        top = "\n".join(PAGES.text(one).splitlines()[:5])
        targets = {PAGES.target(one, link)[0] for _, _, link in LINK.findall(top)}
        assert other in targets, f"{one}: the first five lines have no link to {other}"


def test_a_faithful_translation_has_no_differences(tmp_path):
    assert compare(tmp_path) == []


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("1,000", "1,200", "page.md, line 3: add the number 1,000; remove the number 1,200"),
        ("2 个", "3 个", "line 3: remove the number 3"),
        ("#标题", "#结尾", "line 3: add the link to page.md#a-title; remove the link to page.md#the-end"),
        (
            "[更多](../other.md",
            "[更多](../others.md",
            "line 3: add the link to other.md; remove the link to others.md",
        ),
        ("`lr`", "`rl`", "line 7: add `lr`; remove `rl`"),
        ("**0.5**", "0.5", "line 7: add a bold passage"),
        ("../a.png", "../b.png", "line 10: add the picture a.png; remove the picture b.png"),
        ("../b.png", "../c.png", "line 18: add the picture b.png; remove the picture c.png"),
        ("=iql", "=vdn", "line 13: add the code python main.py --config=iql; remove the code python main.py --conf"),
        ("10 步", "20 步", "line 13: add the number 10; remove the number 20"),
        ("| `alpha` | 3 或 4 |\n", "", "after line 7: translate these English lines\n    English, line 8"),
        ("## 结尾\n", "", "after line 14: translate these English lines\n    English, line 16"),
        ("## 结", "### 结", "line 16: translate these English lines\n    English, line 16 (heading of level 2)"),
        ("4 |\n", "4 |\n| `x` | |\n", "line 9: remove, since the English page has no such lines"),
        (TRANSLATION.splitlines()[2], SAMPLE.splitlines()[2], "line 3: add the link to other.md; remove the link to"),
    ],
)
def test_a_difference_is_named_with_its_line(tmp_path, was, becomes, message):
    assert was in TRANSLATION
    found = compare(tmp_path, translation=TRANSLATION.replace(was, becomes))
    assert len(found) == 1 and message in found[0], found


def test_lines_added_to_the_english_page_are_named_where_their_translation_goes(tmp_path):
    found = compare(tmp_path, english=SAMPLE.replace("\n![", "\nA new paragraph with `lr`.\n\n!["))
    assert found == [
        "zh/page.md, after line 8: translate these English lines\n"
        "    English, line 10 (paragraph): A new paragraph with `lr`."
    ]
