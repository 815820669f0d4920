"""Sessions, changes of them, CDRs and tariffs as JSON: with all that their classes have, and with the least.

Our own, written after the class tables of OCPI 2.2.1 mod_sessions, mod_cdrs, mod_tariffs, mod_locations and types: no
party, place or price in them exists. Numbers have 0 to 4 decimals, and zeros at the end that must stay.
"""

from typing import Final

TARIFF: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "KAI-DAY", "currency": "NOK", "type": "PROFILE_GREEN",
    "tariff_alt_text": [
        {"language": "nb", "text": "Startavgift 9,50 kr; strøm, ladetid og parkering kommer i tillegg."},
        {"language": "fi", "text": "Aloitusmaksu 9,50 kr; sähkö, aika ja pysäköinti lisäksi."}
    ],
    "tariff_alt_url": "https://fjordstrom.example/priser?id=KAI-DAY",
    "min_price": {"excl_vat": 20, "incl_vat": 25.0},
    "max_price": {"excl_vat": 480.00, "incl_vat": 600.0000},
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": 9.50, "vat": 25, "step_size": 1},
                {"type": "ENERGY", "price": 3.4375, "vat": 25.00, "step_size": 10}
            ],
            "restrictions": {
                "start_time": "06:30", "end_time": "22:45", "start_date": "2026-02-01", "end_date": "2026-11-30",
                "min_kwh": 0, "max_kwh": 62.500, "min_current": 6.0, "max_current": 96.25, "min_power": 1.3800,
                "max_power": 66.24, "min_duration": 0, "max_duration": 28800, "day_of_week": ["TUESDAY", "SUNDAY"],
                "reservation": "RESERVATION"
            }
        },
        {
            "price_components": [
                {"type": "TIME", "price": 6.0, "vat": 12.125, "step_size": 45},
                {"type": "PARKING_TIME", "price": 24, "vat": 0, "step_size": 420}
            ],
            "restrictions": {
                "start_time": "00:00", "end_time": "23:59", "start_date": "1999-12-31", "end_date": "2030-01-01",
                "min_kwh": 62.500, "max_kwh": 1000, "min_current": 0.1, "max_current": 192, "min_power": 0.0,
                "max_power": 132.4800, "min_duration": 28800, "max_duration": 86400,
                "day_of_week": ["MONDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"],
                "reservation": "RESERVATION_EXPIRES"
            }
        }
    ],
    "start_date_time": "2026-01-31T23:00:00Z", "end_date_time": "2026-11-30T22:59:59Z",
    "energy_mix": {
        "is_green_energy": true,
        "energy_sources": [{"source": "WATER", "percentage": 87.50}, {"source": "WIND", "percentage": 12.5}],
        "environ_impact": [
            {"category": "CARBON_DIOXIDE", "amount": 7.0625},
            {"category": "NUCLEAR_WASTE", "amount": 0.000}
        ],
        "supplier_name": "Fjordstrøm Kraft", "energy_product_name": "Ren Kaistrøm"
    },
    "last_updated": "2026-01-15T08:20:31Z"
}"""

BARE_TARIFF: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "KAI-GIFT", "currency": "NOK",
    "elements": [{"price_components": [{"type": "FLAT", "price": 0.0, "step_size": 0}]}],
    "last_updated": "2026-01-15T08:21:00Z"
}"""

RESTRICTIONS: Final = {
    "start_time": '"17:05"',
    "end_time": '"00:00"',
    "start_date": '"2026-06-21"',
    "end_date": '"2026-09-09"',
    "min_kwh": "7.5000",
    "max_kwh": "7",
    "min_current": "13.80",
    "max_current": "48.0",
    "min_power": "2.333",
    "max_power": "43.12",
    "min_duration": "240",
    "max_duration": "5400",
    "day_of_week": '["FRIDAY", "MONDAY"]',
    "reservation": '"RESERVATION"',
}
"""Each restriction alone."""

SESSION: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "2026-KAI-0093", "start_date_time": "2026-02-10T06:41:17Z",
    "end_date_time": "2026-02-10T09:56:02Z", "kwh": 18.0625,
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "04F1D2C3B4A596", "type": "RFID",
        "contract_id": "SE-ELV-C00771-9"
    },
    "auth_method": "AUTH_REQUEST", "authorization_reference": "elv/7d41-b", "location_id": "KAI", "evse_uid": "KAI-W",
    "connector_id": "left", "meter_id": "MTR 88/2 Ø", "currency": "NOK",
    "charging_periods": [
        {
            "start_date_time": "2026-02-10T06:41:17Z",
            "dimensions": [
                {"type": "ENERGY", "volume": 11.50}, {"type": "TIME", "volume": 1.6667},
                {"type": "STATE_OF_CHARGE", "volume": 46}, {"type": "CURRENT", "volume": 31.9}
            ],
            "tariff_id": "KAI-DAY"
        },
        {
            "start_date_time": "2026-02-10T08:21:17Z",
            "dimensions": [
                {"type": "ENERGY_IMPORT", "volume": 6.5625}, {"type": "ENERGY_EXPORT", "volume": 0.000},
                {"type": "MIN_POWER", "volume": 0}, {"type": "PARKING_TIME", "volume": 0.750}
            ],
            "tariff_id": "KAI-NIGHT"
        }
    ],
    "total_cost": {"excl_vat": 104.5898, "incl_vat": 130.70}, "status": "COMPLETED",
    "last_updated": "2026-02-10T09:56:40Z"
}"""

BARE_SESSION: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "2026-KAI-0094", "start_date_time": "2026-02-11T19:03:55Z", "kwh": 0,
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "app-5521", "type": "APP_USER", "contract_id": "SE-ELV-C30002-1"
    },
    "auth_method": "COMMAND", "location_id": "KAI", "evse_uid": "KAI-E", "connector_id": "right", "currency": "NOK",
    "status": "PENDING", "last_updated": "2026-02-11T19:03:56Z"
}"""

PATCH: Final = """{
    "start_date_time": "2026-02-11T19:04:30Z", "end_date_time": "2026-02-11T22:10:00Z", "kwh": 9.80,
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "guest-19", "type": "AD_HOC_USER", "contract_id": "SE-ELV-C1"
    },
    "auth_method": "WHITELIST", "authorization_reference": "elv/90aa", "location_id": "KAI-2", "evse_uid": "KAI-2-N",
    "connector_id": "only", "meter_id": "MTR 12", "currency": "EUR",
    "charging_periods": [
        {
            "start_date_time": "2026-02-11T19:04:30Z",
            "dimensions": [{"type": "POWER", "volume": 3.680}, {"type": "MAX_CURRENT", "volume": 16}],
            "tariff_id": "KAI-GIFT"
        }
    ],
    "total_cost": {"excl_vat": 0.00, "incl_vat": 0.0}, "status": "INVALID", "last_updated": "2026-02-11T22:10:09Z"
}"""

BARE_PATCH: Final = """{"last_updated": "2026-02-11T19:30:00Z"}"""

PATCH_OF_METER_AND_COST: Final = """{
    "kwh": 4.125, "total_cost": {"excl_vat": 14.1797}, "status": "ACTIVE", "last_updated": "2026-02-11T19:45:00Z"
}"""

PATCH_OF_PERIODS: Final = """{
    "charging_periods": [
        {"start_date_time": "2026-02-11T19:45:00Z", "dimensions": [{"type": "MAX_POWER", "volume": 7.4}]},
        {"start_date_time": "2026-02-11T20:00:00Z", "dimensions": [{"type": "MIN_CURRENT", "volume": 6.00}]}
    ],
    "last_updated": "2026-02-11T20:00:01Z"
}"""

CDR: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "FJD/2026/000417", "start_date_time": "2026-02-10T06:11:17Z",
    "end_date_time": "2026-02-10T09:56:02Z", "session_id": "2026-KAI-0093",
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "04F1D2C3B4A596", "type": "RFID",
        "contract_id": "SE-ELV-C00771-9"
    },
    "auth_method": "AUTH_REQUEST", "authorization_reference": "elv/7d41-b",
    "cdr_location": {
        "id": "KAI", "name": "Søndre Kai, øvre dekk", "address": "Tangvegen 58b", "city": "Fjordvik",
        "postal_code": "0099", "state": "Ytre Sund", "country": "NOR",
        "coordinates": {"latitude": "-0.123456", "longitude": "-171.98765"},
        "evse_uid": "KAI-W", "evse_id": "NO*FJD*EKAIW", "connector_id": "left",
        "connector_standard": "IEC_60309_2_three_32", "connector_format": "CABLE", "connector_power_type": "AC_3_PHASE"
    },
    "meter_id": "MTR 88/2 Ø", "currency": "NOK",
    "tariffs": [
        {
            "country_code": "NO", "party_id": "FJD", "id": "KAI-DAY", "currency": "NOK", "type": "REGULAR",
            "tariff_alt_text": [{"language": "nn", "text": "Kaipris"}],
            "tariff_alt_url": "http://fjordstrom.example/",
            "min_price": {"excl_vat": 1.0, "incl_vat": 1.250}, "max_price": {"excl_vat": 900, "incl_vat": 1125},
            "elements": [
                {
                    "price_components": [{"type": "ENERGY", "price": 3.4375, "vat": 25.0, "step_size": 1}],
                    "restrictions": {
                        "start_time": "05:00", "end_time": "21:00", "start_date": "2026-01-01",
                        "end_date": "2026-12-31", "min_kwh": 0.0, "max_kwh": 99.9, "min_current": 1,
                        "max_current": 100, "min_power": 0.25, "max_power": 50, "min_duration": 1,
                        "max_duration": 36000, "day_of_week": ["TUESDAY"], "reservation": "RESERVATION"
                    }
                }
            ],
            "start_date_time": "2026-01-01T00:00:00Z", "end_date_time": "2026-12-31T23:59:59Z",
            "energy_mix": {
                "is_green_energy": false, "energy_sources": [{"source": "GENERAL_FOSSIL", "percentage": 100}],
                "environ_impact": [{"category": "CARBON_DIOXIDE", "amount": 512.5}],
                "supplier_name": "Sundkraft", "energy_product_name": "Blandet"
            },
            "last_updated": "2026-01-15T08:20:31Z"
        }
    ],
    "charging_periods": [
        {
            "start_date_time": "2026-02-10T06:11:17Z",
            "dimensions": [{"type": "RESERVATION_TIME", "volume": 0.5000}], "tariff_id": "KAI-DAY"
        },
        {
            "start_date_time": "2026-02-10T06:41:17Z",
            "dimensions": [{"type": "ENERGY", "volume": 18.0625}, {"type": "TIME", "volume": 2.5}],
            "tariff_id": "KAI-DAY"
        },
        {
            "start_date_time": "2026-02-10T09:11:17Z",
            "dimensions": [{"type": "PARKING_TIME", "volume": 0.75}], "tariff_id": "KAI-DAY"
        }
    ],
    "signed_data": {
        "encoding_method": "FJD-meter", "encoding_method_version": 3, "public_key": "bm90IGEga2V5",
        "signed_values": [
            {"nature": "Start", "plain_data": "T=06:41:17;R=40211.0000", "signed_data": "c2lnbmVkIDE="},
            {"nature": "End", "plain_data": "T=09:56:02;R=40229.0625", "signed_data": "c2lnbmVkIDI="}
        ],
        "url": "https://fjordstrom.example/signed/417"
    },
    "total_cost": {"excl_vat": 117.0898, "incl_vat": 146.3623},
    "total_fixed_cost": {"excl_vat": 9.50, "incl_vat": 11.875}, "total_energy": 18.0625,
    "total_energy_cost": {"excl_vat": 62.0898, "incl_vat": 77.6123}, "total_time": 3.7458,
    "total_time_cost": {"excl_vat": 15, "incl_vat": 18.75}, "total_parking_time": 0.750,
    "total_parking_cost": {"excl_vat": 18.0, "incl_vat": 22.50},
    "total_reservation_cost": {"excl_vat": 12.5, "incl_vat": 15.6250},
    "remark": "Kabelen var iset.", "invoice_reference_id": "F-2026-02/0088", "home_charging_compensation": false,
    "last_updated": "2026-02-10T10:00:00Z"
}"""
"""All but what a credit CDR alone has."""

BARE_CDR: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "FJD/2026/000418", "start_date_time": "2026-02-11T19:03:55Z",
    "end_date_time": "2026-02-11T22:10:00Z",
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "fleet-3", "type": "OTHER", "contract_id": "SE-ELV-C30002-1"
    },
    "auth_method": "COMMAND",
    "cdr_location": {
        "id": "KAI", "address": "Tangvegen 58b", "city": "Fjordvik", "country": "NOR",
        "coordinates": {"latitude": "61.0000001", "longitude": "5.00000"}, "evse_uid": "KAI-E",
        "evse_id": "NO*FJD*EKAIE", "connector_id": "right", "connector_standard": "CHADEMO",
        "connector_format": "SOCKET", "connector_power_type": "DC"
    },
    "currency": "NOK",
    "charging_periods": [
        {"start_date_time": "2026-02-11T19:03:55Z", "dimensions": [{"type": "ENERGY", "volume": 9.80}]}
    ],
    "total_cost": {"excl_vat": 33.690}, "total_energy": 9.80, "total_time": 3.1014,
    "last_updated": "2026-02-11T22:15:00Z"
}"""

CREDIT_CDR: Final = """{
    "country_code": "NO", "party_id": "FJD", "id": "FJD/2026/000418/K", "start_date_time": "2026-02-11T19:03:55Z",
    "end_date_time": "2026-02-11T22:10:00Z",
    "cdr_token": {
        "country_code": "SE", "party_id": "ELV", "uid": "fleet-3", "type": "OTHER", "contract_id": "SE-ELV-C30002-1"
    },
    "auth_method": "COMMAND",
    "cdr_location": {
        "id": "KAI", "address": "Tangvegen 58b", "city": "Fjordvik", "country": "NOR",
        "coordinates": {"latitude": "61.0000001", "longitude": "5.00000"}, "evse_uid": "KAI-E",
        "evse_id": "NO*FJD*EKAIE", "connector_id": "right", "connector_standard": "CHADEMO",
        "connector_format": "SOCKET", "connector_power_type": "DC"
    },
    "currency": "NOK",
    "charging_periods": [
        {"start_date_time": "2026-02-11T19:03:55Z", "dimensions": [{"type": "ENERGY", "volume": 9.80}]}
    ],
    "total_cost": {"excl_vat": -33.690}, "total_energy": 9.80, "total_time": 3.1014,
    "credit": true, "credit_reference_id": "FJD/2026/000418", "last_updated": "2026-02-20T07:00:00Z"
}"""
"""Takes BARE_CDR back."""
