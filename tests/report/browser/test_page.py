"""What a reader can do with the page in a browser, and what hostile texts cannot."""

from __future__ import annotations

import csv
import io

import pytest

from tests.report.pages import HOSTILE, hostile_page, sample_page, sample_report

KEEP_FILES = "URL.createObjectURL = (blob) => { window.savedBlob = blob; return '#'; }"
ESCAPE, ENTER, TAB, SPACE = "\ue00c", "\ue007", "\ue004", " "


def shown_names(browser) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('#panel .c-name bdi')]"
        ".filter(e => !e.closest('.under')).map(e => e.textContent)"
    )


def panel_is_open(browser) -> bool:
    return browser.run("return document.getElementById('panel').open")


def panel_opens(browser) -> bool:
    """Whether the panel opens: the page hears of a new fragment after the click, not during it."""
    return bool(browser.wait(lambda: panel_is_open(browser)))


def click(browser, selector: str) -> None:
    browser.run("document.querySelector(arguments[0]).click()", selector)


def test_every_figure_opens_as_many_deals_as_it_counts(browser):
    browser.open(sample_page())
    wrong = browser.run(
        """
        const wrong = [];
        let checked = 0;
        for (const link of document.querySelectorAll("a[data-count]")) {
          history.replaceState(null, "", link.getAttribute("href"));
          dispatchEvent(new HashChangeEvent("hashchange"));
          const text = document.querySelector("#panel .sums").textContent;
          const [title, count, found] = [link.dataset.title, Number(link.dataset.count), parseInt(text, 10)];
          checked += 1;
          if (found !== count) wrong.push([title, count, found]);
        }
        return [checked, wrong];
        """
    )
    assert wrong[0] > 60
    assert wrong[1] == []


def test_every_mark_of_a_chart_opens_deals(browser):
    browser.open(sample_page())
    empty = browser.run(
        """
        const empty = [];
        for (const link of document.querySelectorAll(".chart.broad a")) {
          history.replaceState(null, "", link.getAttribute("href"));
          dispatchEvent(new HashChangeEvent("hashchange"));
          if (!document.querySelector("#panel tbody th")) empty.push(link.getAttribute("aria-label"));
        }
        return empty;
        """
    )
    assert empty == []


def test_bar_opens_its_deals_by_mouse_and_escape_closes_them(browser):
    browser.open(sample_page())
    mark = browser.driver.find_element("css selector", "#s-stages .chart.broad a")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    mark.click()
    assert panel_opens(browser)
    browser.press(ESCAPE)
    assert not panel_is_open(browser)
    assert "#deals" not in browser.driver.current_url


def test_headline_opens_by_keyboard_and_gets_the_focus_back(browser):
    browser.open(sample_page())
    browser.run("document.querySelector('.five .main .big a').focus()")
    browser.press(ENTER)
    assert panel_opens(browser)
    assert browser.run("return document.activeElement.id") == "panel-title"
    browser.press(ESCAPE)
    assert browser.run("return document.activeElement.matches('.five .main .big a')")


def test_address_with_a_fragment_opens_the_list_at_once(browser):
    browser.open(sample_page(), "#deals?status=open&stage=proposal")
    assert panel_opens(browser)
    stages = browser.run("return [...document.querySelectorAll('#panel td.c-stage')].map(e => e.textContent)")
    assert set(stages) == {"Proposal"}


@pytest.mark.parametrize(
    "fragment", ["#deals?nothing=1", "#deals?__proto__=1", "#deals?%", "#deals?refs=gone"]
)
def test_fragment_that_means_nothing_harms_nothing(browser, fragment):
    browser.open(sample_page(), fragment)
    assert browser.complaints() == []
    assert browser.run("return document.documentElement.dataset.ready") == "yes"


def test_deals_sort_by_every_column_with_the_empty_ones_last(browser):
    browser.open(sample_page(), "#deals?status=open")
    click(browser, "#panel th.c-close button")
    assert (
        browser.run("return document.querySelector('#panel th.c-close').getAttribute('aria-sort')")
        == "ascending"
    )
    _, deals, _ = sample_report()
    open_deals = [deal for deal in deals if deal.status == "open"]
    days = sorted(deal.expected_close for deal in open_deals if deal.expected_close)
    first = browser.run("return document.querySelector('#panel tbody td.c-close').textContent")
    assert first == f"{days[0]:%b} {days[0].day}, {days[0].year}"
    click(browser, "#panel th.c-close button")
    assert browser.run("return document.querySelector('#panel tbody td.c-close').textContent") != "–"


def test_table_of_figures_sorts_by_keyboard_and_tells_so(browser):
    browser.open(sample_page())
    amounts = (
        "return [...document.querySelectorAll('#s-connections tbody tr')]"
        ".map(r => Number(r.cells[3].dataset.v))"
    )
    browser.run("document.querySelectorAll('#s-connections thead button')[3].focus()")
    browser.press(ENTER)
    assert browser.run(amounts) == sorted(browser.run(amounts), reverse=True)
    browser.press(SPACE)
    assert browser.run(amounts) == sorted(browser.run(amounts))
    states = browser.run(
        "return [...document.querySelectorAll('#s-connections thead th')].map(h => h.ariaSort)"
    )
    assert states.count("ascending") == 1


def test_filters_narrow_every_list_of_deals_and_reset(browser):
    browser.open(sample_page())
    count = "return parseInt(document.querySelector('#explorer .sums').textContent, 10)"
    listed = "return [...document.querySelectorAll('tr[data-behind]')].filter(r => !r.hidden).length"
    before = browser.run(count), browser.run(listed)
    browser.run(
        "const s = document.querySelector('#explorer select[data-filter=owner]');"
        "s.value = 'Tom Becker'; s.dispatchEvent(new Event('change'))"
    )
    owners = browser.run(
        "return [...document.querySelectorAll('#explorer td.c-owner')].map(e => e.textContent)"
    )
    assert set(owners) == {"Tom Becker"}
    assert browser.run(count) == sum(deal.owner == "Tom Becker" for deal in sample_report()[1])
    assert 0 < browser.run(listed) < before[1]
    click(browser, "#explorer .filters button")
    assert (browser.run(count), browser.run(listed)) == before


def test_search_finds_by_company(browser):
    browser.open(sample_page())
    browser.run(
        "const s = document.querySelector('#explorer input');"
        "s.value = 'müller'; s.dispatchEvent(new Event('input'))"
    )
    count = browser.run("return parseInt(document.querySelector('#explorer .sums').textContent, 10)")
    expected = [d for d in sample_report()[1] if "müller" in f"{d.name} {d.company}".lower()]
    assert count == len(expected) > 0


def test_file_holds_what_is_shown_and_no_formula(browser, saved):
    browser.open(hostile_page())
    browser.run(KEEP_FILES)
    click(browser, "#explorer .sumline button")
    lines = list(csv.reader(io.StringIO(saved().removeprefix("\ufeff"), newline="")))
    assert len(lines) - 1 == len(HOSTILE) * 7
    assert {cell[:1] for line in lines for cell in line if cell} & set("=+-@\t\r＝＋－＠") == set()
    assert '\'=HYPERLINK("http://evil.example";"x")' in {cell for line in lines for cell in line}


def test_file_of_a_table_keeps_its_numbers(browser, saved):
    browser.open(sample_page())
    browser.run(KEEP_FILES)
    click(browser, "#s-connections .tablefoot button")
    lines = list(csv.reader(io.StringIO(saved().removeprefix("\ufeff"), newline="")))
    assert lines[0][:4] == ["CRM", "Records", "Deals", "Amount"]
    assert sum(int(line[2]) for line in lines[1:]) == sample_report()[0].open.count


def test_definition_opens_and_closes_by_keyboard(browser):
    browser.open(sample_page())
    browser.run("document.querySelector('.five .why').focus()")
    browser.press(ENTER)
    assert browser.run("return document.querySelector('.five .why-text').matches(':popover-open')")
    browser.press(ESCAPE)
    assert not browser.run("return document.querySelector('.five .why-text').matches(':popover-open')")


def test_first_press_of_tab_offers_to_skip_to_the_figures(browser):
    browser.open(sample_page())
    browser.press(TAB)
    assert browser.run("return document.activeElement.className") == "skip"


def test_paper_shows_figures_and_definitions_and_no_controls(browser):
    browser.open(sample_page())
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    shown = "return [...document.querySelectorAll(arguments[0])].some(e => e.getClientRects().length > 0)"
    assert browser.run(shown, ".five .big")
    assert browser.run(shown, ".chart.broad")
    assert browser.run(shown, ".card .why-text")
    assert not browser.run(shown, ".chapters, .quietbutton, .why, #all-deals, .chart.slim")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = browser.command("Page.printToPDF", printBackground=False)["data"]
    assert pdf.startswith("JVBERi")


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_texts_run_nothing_load_nothing_and_keep_the_layout(browser, width):
    browser.open(hostile_page(), "#deals?status=open", width=width)
    # A dialog of `alert` would make every one of these calls fail.
    assert browser.run("return document.documentElement.dataset.ready") == "yes"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.run("return document.querySelectorAll('script').length") == 2
    assert (
        browser.run("return document.querySelectorAll('img, iframe, object, embed, form, link').length") == 0
    )
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("return document.getElementById('panel').scrollWidth <= innerWidth")
    assert browser.complaints() == []


def test_hostile_name_is_a_text_in_the_list(browser):
    browser.open(hostile_page(), "#deals?owner=%3Cscript%3Ealert%281%29%3C/script%3E")
    assert set(shown_names(browser)) == {"<script>alert(1)</script>"}


def test_policy_keeps_a_script_from_running_even_if_one_came_in(browser):
    browser.open(sample_page())
    blocked = browser.run(
        """
        const made = document.createElement("div");
        try { made.innerHTML = "<img src=x onerror='window.broken = 1'>"; } catch { return "refused"; }
        document.body.append(made);
        return String(window.broken);
        """
    )
    assert blocked == "refused"


def test_another_language_works_without_a_complaint(browser):
    browser.open(sample_page("ja"), "#deals?status=open", width=390)
    assert panel_opens(browser)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints() == []
