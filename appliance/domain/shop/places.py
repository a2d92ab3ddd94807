"""Where the demo's shoppers live: cities of all continents, with what a visit tells of a place.

Invariant: who lives where is the business of `shoppers.py`; a line here is a fact about a city.
"""

from typing import Final

from msgspec import Struct

from appliance.domain.shop.lines import read_lines


class City(Struct, frozen=True, kw_only=True):
    """A city; coordinates in degrees, `weight` is its share of the shoppers."""

    name: str
    region: str
    country: str
    continent: str
    postal_code: str
    timezone: str
    locale: str
    latitude: float
    longitude: float
    weight: int


_LINES: Final = """
Vienna|Vienna|AT|EU|1010|Europe/Vienna|de-AT|48.208|16.373|6
Graz|Styria|AT|EU|8010|Europe/Vienna|de-AT|47.071|15.439|3
Berlin|Berlin|DE|EU|10115|Europe/Berlin|de-DE|52.520|13.405|9
Hamburg|Hamburg|DE|EU|20095|Europe/Berlin|de-DE|53.551|9.994|5
Munich|Bavaria|DE|EU|80331|Europe/Berlin|de-DE|48.137|11.575|6
Zurich|Zurich|CH|EU|8001|Europe/Zurich|de-CH|47.377|8.541|4
Paris|Île-de-France|FR|EU|75001|Europe/Paris|fr-FR|48.857|2.352|8
Lyon|Auvergne-Rhône-Alpes|FR|EU|69001|Europe/Paris|fr-FR|45.764|4.836|3
Brussels|Brussels|BE|EU|1000|Europe/Brussels|fr-BE|50.850|4.352|3
Amsterdam|North Holland|NL|EU|1012|Europe/Amsterdam|nl-NL|52.368|4.904|5
London|England|GB|EU|EC1A|Europe/London|en-GB|51.507|-0.128|10
Manchester|England|GB|EU|M1|Europe/London|en-GB|53.481|-2.242|4
Dublin|Leinster|IE|EU|D01|Europe/Dublin|en-IE|53.350|-6.260|3
Madrid|Madrid|ES|EU|28001|Europe/Madrid|es-ES|40.417|-3.703|5
Barcelona|Catalonia|ES|EU|08001|Europe/Madrid|ca-ES|41.385|2.173|4
Lisbon|Lisbon|PT|EU|1100|Europe/Lisbon|pt-PT|38.722|-9.139|3
Porto|Porto|PT|EU|4000|Europe/Lisbon|pt-PT|41.158|-8.629|2
Milan|Lombardy|IT|EU|20121|Europe/Rome|it-IT|45.464|9.190|5
Rome|Lazio|IT|EU|00184|Europe/Rome|it-IT|41.903|12.496|4
Warsaw|Mazovia|PL|EU|00-001|Europe/Warsaw|pl-PL|52.230|21.012|4
Prague|Prague|CZ|EU|110 00|Europe/Prague|cs-CZ|50.076|14.438|3
Stockholm|Stockholm|SE|EU|111 20|Europe/Stockholm|sv-SE|59.329|18.069|3
Bergen|Vestland|NO|EU|5003|Europe/Oslo|nb-NO|60.391|5.322|2
Helsinki|Uusimaa|FI|EU|00100|Europe/Helsinki|fi-FI|60.170|24.938|2
Istanbul|Istanbul|TR|AS|34000|Europe/Istanbul|tr-TR|41.008|28.978|4
New York|New York|US|NA|10001|America/New_York|en-US|40.713|-74.006|14
Boston|Massachusetts|US|NA|02108|America/New_York|en-US|42.360|-71.059|5
Atlanta|Georgia|US|NA|30303|America/New_York|en-US|33.749|-84.388|5
Chicago|Illinois|US|NA|60601|America/Chicago|en-US|41.878|-87.630|8
Austin|Texas|US|NA|73301|America/Chicago|en-US|30.267|-97.743|5
Denver|Colorado|US|NA|80202|America/Denver|en-US|39.739|-104.990|4
Seattle|Washington|US|NA|98101|America/Los_Angeles|en-US|47.606|-122.332|6
San Francisco|California|US|NA|94102|America/Los_Angeles|en-US|37.775|-122.419|8
Los Angeles|California|US|NA|90012|America/Los_Angeles|en-US|34.052|-118.244|9
Toronto|Ontario|CA|NA|M5H|America/Toronto|en-CA|43.653|-79.383|6
Montreal|Quebec|CA|NA|H2Y|America/Toronto|fr-CA|45.502|-73.567|3
Halifax|Nova Scotia|CA|NA|B3H|America/Halifax|en-CA|44.649|-63.575|1
Mexico City|Mexico City|MX|NA|06000|America/Mexico_City|es-MX|19.433|-99.133|4
Bogotá|Bogotá|CO|SA|110111|America/Bogota|es-CO|4.711|-74.072|2
Lima|Lima|PE|SA|15001|America/Lima|es-PE|-12.046|-77.043|2
Santiago|Santiago|CL|SA|8320000|America/Santiago|es-CL|-33.449|-70.669|2
Buenos Aires|Buenos Aires|AR|SA|C1002|America/Argentina/Buenos_Aires|es-AR|-34.604|-58.382|3
São Paulo|São Paulo|BR|SA|01000-000|America/Sao_Paulo|pt-BR|-23.551|-46.633|6
Cairo|Cairo|EG|AF|11511|Africa/Cairo|ar-EG|30.044|31.236|2
Nairobi|Nairobi|KE|AF|00100|Africa/Nairobi|en-KE|-1.292|36.822|2
Lagos|Lagos|NG|AF|100001|Africa/Lagos|en-NG|6.524|3.379|3
Cape Town|Western Cape|ZA|AF|8001|Africa/Johannesburg|en-ZA|-33.925|18.424|3
Dubai|Dubai|AE|AS|00000|Asia/Dubai|en-AE|25.205|55.271|3
Mumbai|Maharashtra|IN|AS|400001|Asia/Kolkata|en-IN|19.076|72.878|7
Bengaluru|Karnataka|IN|AS|560001|Asia/Kolkata|en-IN|12.972|77.595|5
Singapore|Singapore|SG|AS|049315|Asia/Singapore|en-SG|1.352|103.820|4
Jakarta|Jakarta|ID|AS|10110|Asia/Jakarta|id-ID|-6.209|106.846|4
Seoul|Seoul|KR|AS|04524|Asia/Seoul|ko-KR|37.567|126.978|4
Tokyo|Tokyo|JP|AS|100-0001|Asia/Tokyo|ja-JP|35.676|139.650|7
Sydney|New South Wales|AU|OC|2000|Australia/Sydney|en-AU|-33.869|151.209|5
Auckland|Auckland|NZ|OC|1010|Pacific/Auckland|en-NZ|-36.849|174.763|2
"""


CITIES: Final = read_lines(_LINES, City)
