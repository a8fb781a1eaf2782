"""Makes series.csv, sites.csv and left_out.csv out of the Soil Incubation Database. Run: python prepare.py FOLDER

FOLDER holds the database in long form (timeseries.csv, series.csv, studies.csv, initial_conditions_long.csv). Values are
copied as they are; what this script decides is what a series is (a rate, a total, an amount since the last reading), of
what (soil or its carbon), and in which unit. The model file converts the units.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
MOST = 0.9  # of a soil's carbon that an incubation respires; a study with a series beyond it has a wrong unit
LEAST = 4  # readings above zero that a series needs, one for each quantity to be learned

# study -> (channel, unit of the model file). Where it is not obvious, why.
USED = {
    "Andrews2000SBB": ("rate_soil", "mgCO2/gsoil/day"),
    "Arevalo2012": ("total_carbon", "mgC/gSOC"),
    "Barrett2006": ("rate_soil", "ugC/gsoil/day"),
    "BradleyCook2016": ("rate_carbon", "mgC/gSOC/day"),
    "Conant2008": ("total_soil", "mgC/gsoil"),
    "Craine2010NatGeo": ("total_soil", "mgCO2/gsoil"),
    # No time in the unit. Values jump up with the gap between readings; divided by it they fall smoothly: amounts.
    "Crow2018": ("amount_soil", "mgC/gsoil"),
    "Crow2019a": ("rate_soil", "ugC/gsoil/day"),
    # "Production rate" in the description, but no time in the unit and no value ever falls: totals.
    "Crow2019b": ("total_soil", "ugCO2/gsoil"),
    "Doetterl2015": ("rate_carbon", "ugC/gSOC/hour"),
    "Fontaine2007": ("total_carbon", "mgC/kgSOC"),
    "Gillabel2010": ("total_carbon", "mgC/gSOC"),
    "Hopkins2006": ("total_soil", "mgC/gsoil"),
    "Karhu2010": ("rate_carbon", "ugC/gOM/hour"),
    "NeffHooper2002": ("rate_carbon", "mgC/gSOC/day"),
    "Reichstein2000": ("rate_carbon", "mgC/gSOC/day"),
    "Rey2008": ("rate_soil", "ugC/gsoil/day"),
    "Salome2010": ("total_soil", "mgC/gsoil"),
    # The label says mgC/day per jar; the same values elsewhere, by the same authors, are ugC/gsoil/day.
    "Sierra2017BG": ("rate_soil", "ugC/gsoil/day"),
    "Song2010": ("rate_soil", "mgC/gsoil/day"),
    "Stewart2008SBB": ("total_soil", "mgCO2/gsoil"),
    "Townsend1997": ("rate_soil", "ugC/gsoil/day"),
    "Wang2010": (
        "rate_soil",
        "mgC/gsoil/day",
    ),  # no time in the unit, but values fall: "mineralization rates"
    "Wells2022": ("amount_soil", "ugC/gsoil"),  # as Crow2018
    "WicklandNeff2008": ("total_carbon", "percentC"),
    "Zhang2007": ("rate_carbon", "mgC/gSOC/day"),
}
UNUSABLE = {
    "Bradford2010": "substrate-induced respiration, a measure of microbes, not of the soil's own decay",
    "Dalias2001": "labelled straw that is left, not respiration of the soil",
    "Niklinska1999": "per jar, and how much soil was in a jar is not said in the table",
    "Richardson2020": "ppm in the headspace, of unknown volume",
}


def reason(row: pd.Series) -> str:
    """Why a series cannot serve, seen from what it says of itself; "" if it can."""
    other, study = str(row.other), row.study
    if study in UNUSABLE:
        return UNUSABLE[study]
    if row.gas != "CO2":
        return "an isotope ratio, not an amount"
    if study == "Hopkins2006" and not row.series.endswith("_una"):
        return "soil with an amendment, whose carbon is respired too"
    if study == "Fontaine2007" and "control" not in other:
        return "soil with an amendment, whose carbon is respired too"
    if study == "Song2010" and re.search(r"amendment=(N|C)\d", other):
        return "soil with an amendment, whose carbon is respired too"
    if study == "Reichstein2000" and row.series.startswith("CMin"):
        return "the running total of a series of rates that is used"
    return ""


def carbon(conditions: pd.DataFrame, row: pd.Series) -> float:
    """Gram of carbon in a gram of soil, NaN where the study does not say it for this series."""
    found = conditions[conditions.study == row.study].pivot(index="row", columns="variable", values="value")
    if "carbonMean" not in found or "carbonUnits" not in found:
        return np.nan
    about = dict(part.split("=", 1) for part in str(row.other).split("; ") if "=" in part)
    about |= {"site": plain(row.site), "midDepth": depth(row), "temperature": f"{row.temperature_C:g}",
              "top": f"{row.depth_top_cm:g}", "bottom": f"{row.depth_bottom_cm:g}"}  # fmt: skip
    for key, value in about.items():
        if key in found and value:
            same = found[found[key].map(plain) == plain(value)]
            found = same if len(same) else found
    factor = {"percent": 0.01, "g/gSoil": 1.0, "mg/gSoil": 0.001, "mgC/gSoil": 0.001, "gC/kgSoil": 0.001}
    values = {
        float(v) * factor.get(u.strip(), np.nan)
        for v, u in zip(found.carbonMean, found.carbonUnits, strict=True)
    }
    return values.pop() if len(values) == 1 else np.nan


def plain(name: object) -> str:
    return re.sub(r"[^a-z0-9.]", "", re.sub(r"\(.*?\)|, [A-Z]{2}\b", "", str(name)).lower())


def depth(row: pd.Series) -> str:
    """The depth as it stands in the initial conditions: in a column, or only in the name of a series."""
    named = {"Top": "10", "Sub": "100"} if row.study == "Gillabel2010" else {"surf": "7.5", "sub": "90.0"}
    if row.study in ("Gillabel2010", "Salome2010"):
        return next((d for word, d in named.items() if word in row.series), "")
    if row.study == "Wang2010":
        return "15" if "_10_20_" in row.series else "25"
    return ""


def place(studies: pd.DataFrame, row: pd.Series) -> tuple[float, float]:
    """Latitude and longitude of the series' site, or of the study's first."""
    about = studies.loc[row.study]
    names, lats, lons = (str(about[c]).split("; ") for c in ("site", "latitude", "longitude"))
    at = next((k for k, n in enumerate(names) if plain(n) == plain(row.site)), 0)
    lat, lon = float(lats[min(at, len(lats) - 1)]), float(lons[min(at, len(lons) - 1)])
    if row.study == "Sierra2017BG":
        lon = -abs(lon)  # Alaska: the minus sign is missing
    return lat, lon


def respired(channel: str, unit: str, times: np.ndarray, values: np.ndarray, content: float) -> float:
    """The share of the soil's carbon that a series says is gone at its end; the most that it can be without a content."""
    amount = {"mgC": 1e-3, "ugC": 1e-6, "mgCO2": 0.27292e-3, "ugCO2": 0.27292e-6, "percentC": 0.01}[
        unit.split("/")[0]
    ]
    amount /= {"kgSOC": 1e3, "gOM": 0.5}.get(next(iter(unit.split("/")[1:]), ""), 1.0)
    amount *= 24.0 if unit.endswith("hour") else 1.0
    match channel.split("_")[0]:
        case "rate":
            total = float(np.trapezoid(values, times)) + values[0] * times[0]
        case "amount":
            total = float(values.sum())
        case _:
            total = float(values.max())
    basis = 1.0 if channel.endswith("carbon") else (0.5 if np.isnan(content) else content)
    return total * amount / basis


def main(folder: Path) -> None:
    readings, series = pd.read_csv(folder / "timeseries.csv"), pd.read_csv(folder / "series.csv")
    studies = pd.read_csv(folder / "studies.csv").set_index("study")
    conditions = pd.read_csv(folder / "initial_conditions_long.csv")
    rows, sites, left_out, seen, wrong = [], [], [], {}, {}
    for _, row in series.iterrows():
        name = f"{row.study}/{row.series.strip()}"
        why = reason(row)
        if not why:
            own = readings[(readings.study == row.study) & (readings.series == row.series)].sort_values(
                "time_d"
            )
            channel, unit = USED[row.study]
            # A total at the start says nothing; a rate of zero or less is below what could be measured.
            kept = own[(own.value > 0) & ((own.time_d > 0) | channel.startswith("rate"))]
            content = carbon(conditions, row)
            share = (
                respired(channel, unit, own.time_d.to_numpy(), own.value.to_numpy(), content)
                if len(own)
                else 0.0
            )
            twin = seen.setdefault((row.study, tuple(own.time_d), tuple(own.value)), name)
            if len(kept) < LEAST:
                why = f"only {len(kept)} readings above zero"
            elif len(kept) < 0.75 * len(own):
                why = f"{len(own) - len(kept)} of {len(own)} readings are zero or less"
            elif twin != name:
                why = f"the same numbers as {twin}"
            elif own.time_d.duplicated().any():
                why = "two readings at one time"
            elif share > MOST:
                wrong[row.study] = (
                    f"{row.series.strip()} would respire {share:.2g} times its carbon: the unit in the table cannot be right"
                )
        if why:
            left_out.append({"series": name, "reason": why})
            continue
        rows += [{"series": name, "day": t, "channel": channel, "value": v, "unit": unit}
                 for t, v in zip(kept.time_d, kept.value, strict=True)]  # fmt: skip
        if not np.isnan(content):
            rows.append(
                {
                    "series": name,
                    "day": 0.0,
                    "channel": "content",
                    "value": round(content, 6),
                    "unit": "gSOC/gsoil",
                }
            )
        lat, lon = place(studies, row)
        sites.append({"series": name, "study": row.study, "latitude": lat, "longitude": lon,
                      "temperature": row.temperature_C, "channel": channel, "respired": round(share, 4)})  # fmt: skip
    left_out += [{"series": s["series"], "reason": wrong[s["study"]]} for s in sites if s["study"] in wrong]
    sites = [s for s in sites if s["study"] not in wrong]
    names = {s["series"] for s in sites}
    rows = [r for r in rows if r["series"] in names]
    pd.DataFrame(rows).to_csv(HERE / "series.csv", index=False)
    pd.DataFrame(sites).to_csv(HERE / "sites.csv", index=False)
    pd.DataFrame(left_out).to_csv(HERE / "left_out.csv", index=False)
    print(f"{len(sites)} of {len(series)} series, {len(rows)} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
