"""Makes the folder `inbox` with the sales of four shops, a CSV file for each; the same ones each time."""
import csv
import random
from pathlib import Path

CURRENCIES = {"basel": "CHF", "lyon": "EUR", "oslo": "NOK", "porto": "EUR"}
PRODUCTS = ("rye", "spelt", "wheat")

if __name__ == "__main__":
    Path("inbox").mkdir()
    for shop, currency in CURRENCIES.items():
        chance = random.Random(shop)
        with open(f"inbox/{shop}.csv", "w", newline="", encoding="utf-8") as file:
            sales = csv.writer(file, lineterminator="\n")
            sales.writerow(["receipt", "product", "amount", "currency"])
            for receipt in range(1, 201):
                sales.writerow([receipt, chance.choice(PRODUCTS), f"{chance.randint(100, 2000) / 100:.2f}", currency])
                if receipt % 50 == 0:  # the till sends some receipts twice
                    sales.writerow([receipt, " RYE ", "9.90", currency])
                    sales.writerow([receipt, " RYE ", "9.90", currency])
