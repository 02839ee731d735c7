"""The currency of prices and statements: ISO 4217, with the number of digits of each minor unit.

Source: ISO 4217:2015, list one, of currencies in use; without precious metals, funds and test codes.
"""

from typing import Final

_MINOR_DIGITS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
        CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
        HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT
        MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB
        SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
        USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}

MINOR_DIGITS: Final = {code: digits for digits, codes in _MINOR_DIGITS.items() for code in codes.split()}
"""How many digits an amount of each currency has behind the point: 2 of EUR, 0 of JPY."""


def is_currency(code: str) -> str:
    """The code itself; ValueError for one that is not a currency's."""
    if code not in MINOR_DIGITS:
        raise ValueError("expected the code of a currency in ISO 4217, such as EUR")
    return code
