"""HotPotQA Conditional's answer categories: which are a person, a place or a date.

The files label their 900 rows with 185 categories, and the paper's rule speaks of three. Its
released metric knows only rows labelled with those three very words, by which a `location`, a
`city` and a `year` are to be written in capitals like a film; that reading is `LITERAL`. Ours,
`KIND_OF`, goes by what the answers of a category are:

- a person: people by name, or by their office (`monarch`); not fictional ones (`character`), whom
  the files set apart, nor a `deity`, a part of a name (`name`) or a firm (`person/company`);
- a place: what can be found on a map, natural, political or built (`building`, `airport`,
  `campus`); not bodies that have a seat somewhere (`university`, `school`, `company`, `club`), and
  not measures of a place (`area`, `elevation`, `distance`);
- a date: what a calendar shows, of any length (`year`, `decade`, `months`); not lengths of time
  (`duration`, `age`) or times of day (`time`).

A row goes by its label even where that is wrong (a `year` whose answer is a film studio): so do the
paper's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

# kind → each category of that kind, and how many rows of the three files have it
_TABLE = {
    "person": """
        person 205, members 1, monarch 1, poet 1
    """,
    "place": """
        location 47, place 28, city 15, country 7, building 4, river 4, airport 3, region 3,
        state 3, campus 2, bridge 1, capital 1, coast 1, colony 1, county 1, jail 1, mine 1,
        mountain 1, mountain chain 1, neighborhood 1, ocean 1, province 1, road 1, sea 1,
        site 1, stadium 1, theater 1, town 1
    """,
    "date": """
        year 47, date 26, date range 2, decade 2, months 1, time period 1
    """,
    "other": """
        boolean 51, film 29, organization 23, company 22, band 20, number 17, nationality 14,
        profession 13, event 10, team 10, genre 9, position 9, television show 9, character 8,
        game 6, group 6, nickname 6, amount 5, battle 5, distance 5, magazine 5, species 5,
        award 4, branch 4, duration 4, item 4, name 4, population 4, role 4, type 4, album 3,
        entity 3, genus 3, product 3, publication 3, relation 3, school 3, song 3, sport 3,
        title 3, university 3, airline 2, animal 2, area 2, book 2, dance 2, document 2,
        elevation 2, feature 2, ideology 2, industry 2, institution 2, job title 2, music 2,
        network 2, other 2, political party 2, purpose 2, size 2, storm 2, technology 2,
        thing 2, abbreviation 1, act 1, activity 1, age 1, age range 1, animals 1,
        association 1, attribute 1, bird 1, brands 1, cause of death 1, channel 1,
        characteristic 1, charges 1, club 1, code name 1, college 1, competition 1,
        court case 1, cuisine 1, culture 1, deity 1, demographic 1, description 1, design 1,
        device 1, discipline 1, disorders 1, division 1, family 1, festival 1, field 1,
        fighting force 1, fruit 1, gender 1, gesture 1, height 1, honor 1, horse 1,
        instrument 1, issue 1, job 1, judgment 1, language 1, materials 1, meaning 1,
        movement 1, music genre 1, musical 1, nomination 1, novel 1, occupation 1, outcome 1,
        pageant 1, part 1, percentage 1, person/company 1, platform 1, policy 1, program 1,
        quality 1, rank 1, recognition 1, record 1, result 1, ride 1, sense 1, shape 1, ship 1,
        show 1, skills 1, specialty 1, talent 1, teams 1, term 1, thesis 1, time 1, topic 1,
        trait 1, translation 1, treaty 1, unit 1, wars 1, weapon 1, works 1
    """,
}


def _counts(line: str) -> Counter[str]:
    items = (item.strip().rpartition(" ") for item in line.split(","))
    return Counter({name: int(rows) for name, _, rows in items})


# kind → category → rows
CATEGORIES: Mapping[str, Counter[str]] = MappingProxyType(
    {kind: _counts(line) for kind, line in _TABLE.items()}
)
# category → kind
KIND_OF: Mapping[str, str] = {
    category: kind for kind, counts in CATEGORIES.items() for category in counts
}
LITERAL: Mapping[str, str] = {kind: kind for kind in ("person", "place", "date")}
