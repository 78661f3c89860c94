// The columns of this page, one entry per title.

const data = JSON.parse(document.getElementById("data").textContent);
const x = unpack(data.x);
const y = unpack(data.y);
const years = unpack(data.years); // 0 where unknown, else counted from the first year as 1
const known = unpack(data.known);
const tiles = unpack(data.tiles); // 0 where there is no poster, else counted from 1
const groups = data.groups ? unpack(data.groups.of) : null; // 0 for none, else counted from 1
const labels = unpackLists(data.labels);
const terms = unpackLists(data.words);
const near = unpackLists(data.near);
const sortedYears = years.filter((year) => year > 0).sort();
// Years that colours span, so that one old film does not leave the others in one colour.
const [oldest, newest] = [0.02, 0.98].map((share) => {
  return sortedYears.length ? sortedYears[Math.round(share * (sortedYears.length - 1))] + data.firstYear - 1 : 0;
});
const lastYear = sortedYears.length ? sortedYears[sortedYears.length - 1] + data.firstYear - 1 : 0;
